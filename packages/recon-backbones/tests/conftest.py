"""The parity option and what tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None, max_examples=25)  # machines differ in speed
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run add a directory of parity cases to those of this repository."""
    parser.addoption(
        "--parity",
        type=Path,
        default=None,
        metavar="DIR",
        help="directory with folders like tests/fixtures/da3-tiny (config.json, weights, cases)",
    )
