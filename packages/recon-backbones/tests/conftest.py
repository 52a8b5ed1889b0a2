"""The parity option and what tests share."""

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run add a directory of parity cases to those of this repository."""
    parser.addoption(
        "--parity",
        type=Path,
        default=None,
        metavar="DIR",
        help="directory with folders like tests/fixtures/da3-tiny (config.json, weights, cases)",
    )
