"""What the tests of this package share."""

from pathlib import Path

import pytest

OWN = Path(__file__).parent / "parity"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity", default=str(OWN), help="folder of .safetensors cases computed by thu-ml/SLA"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "parity_case" in metafunc.fixturenames:
        cases = sorted(Path(metafunc.config.getoption("--parity")).glob("*.safetensors"))
        metafunc.parametrize("parity_case", cases, ids=[case.stem for case in cases])
