"""The `--parity` option: where the golden bytes of the public recipes lie."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity",
        default=None,
        metavar="DIR",
        help="folder with golden_fp32.safetensors and golden_bf16.safetensors, or one above it "
        "named fp8 (default: the copies beside these tests)",
    )


@pytest.fixture(scope="session")
def parity(request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--parity")
    folder = Path(given) if given else Path(__file__).parent / "fixtures"
    return folder / "fp8" if (folder / "fp8").is_dir() else folder
