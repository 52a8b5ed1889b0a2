"""The `--parity` option: where the golden bytes of the public recipes lie; what PyTorch lacks."""

from pathlib import Path

import pytest
import torch

from fp8_qat.backends import scaled_mm


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity",
        default=None,
        metavar="DIR",
        help="folder with golden_fp32.safetensors and golden_bf16.safetensors, or one above it "
        "named fp8 (default: the copies beside these tests)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what multiplies FP8 on a CPU, where PyTorch is too old to do so."""
    if torch._C._dispatch_has_kernel_for_dispatch_key(scaled_mm.PRODUCT, "CPU"):
        return
    skip = pytest.mark.skip(reason=f"torch={torch.__version__} has no scaled product on a CPU")
    for item in items:
        if "scaled_mm" in item.nodeid or item.get_closest_marker("multiplies"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def parity(request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--parity")
    folder = Path(given) if given else Path(__file__).parent / "fixtures"
    return folder / "fp8" if (folder / "fp8").is_dir() else folder
