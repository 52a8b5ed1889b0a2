"""What the tests of this package share."""

from contextlib import suppress
from pathlib import Path

import pytest

OWN = Path(__file__).parent / "parity"


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # another package's tests, run along, may have defined it
        parser.addoption("--parity", help="folder of .safetensors cases computed by thu-ml/SLA")


def parity_folder(config: pytest.Config) -> Path:
    """Where the cases lie: the option, or the folder beside this file."""
    return Path(config.getoption("--parity", None) or OWN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "parity_case" in metafunc.fixturenames:
        cases = sorted(parity_folder(metafunc.config).glob("*.safetensors"))
        metafunc.parametrize("parity_case", cases, ids=[case.stem for case in cases])


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Path:
    """The folder that the cases come from."""
    return parity_folder(request.config)
