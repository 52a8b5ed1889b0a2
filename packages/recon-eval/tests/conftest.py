"""Options and small data sets on disk that several tests share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image
from scipy.spatial.transform import Rotation

settings.register_profile(  # for parsers, which hypothesis feeds by files in one folder
    "on_disk",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=60,
)
FIXTURES = Path(__file__).parent / "fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--realdata", help="folder with the real data sets the tests know")
    parser.addoption("--parity", help="folder with numbers computed by public implementations")


@pytest.fixture
def realdata(request: pytest.FixtureRequest) -> Path:
    """The folder of real data sets; tests that need it are skipped without it."""
    folder = request.config.getoption("--realdata")
    if folder is None:
        pytest.skip("needs --realdata DIR, data that may not be redistributed")
    return Path(folder)


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Path:
    """Numbers of public implementations: `--parity DIR`, or those kept beside the tests."""
    folder = request.config.getoption("--parity")
    return FIXTURES if folder is None else Path(folder)


@pytest.fixture
def make_blendedmvs(tmp_path: Path) -> Callable[..., Path]:
    """Write scenes of random frames in the BlendedMVS layout and return their root."""

    def make(*names: str, views: int = 5, scale: float = 1.0, tail: str = "1 0.1 128 9") -> Path:
        for n, name in enumerate(names):
            _write_scene(tmp_path / "root" / name, np.random.default_rng(n), views, scale, tail)
        return tmp_path / "root"

    return make


def _write_scene(
    folder: Path, rng: np.random.Generator, views: int, scale: float, tail: str
) -> None:
    from recon_eval.formats import write_pfm  # with PyTorch, which handing out tests does not need

    for part in ("blended_images", "cams", "rendered_depth_maps"):
        (folder / part).mkdir(parents=True)
    for i in range(views):
        image = rng.integers(0, 255, size=(6, 8, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"blended_images/{i:08d}.jpg", quality=95)
        depth = (rng.random((6, 8)) * 4 + 2 + i).astype(np.float32)
        depth[0, : i + 1] = 0
        write_pfm(folder / f"rendered_depth_maps/{i:08d}.pfm", (depth * scale).astype(np.float32))
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(0.1 * rng.normal(size=3)).as_matrix()
        pose[:3, 3] = scale * rng.normal(size=3)
        write_camera(folder / f"cams/{i:08d}_cam.txt", pose, tail)
    lines = [str(views)]
    for i in range(views):
        others = [j for j in range(views) if j != i]
        lines += [str(i), " ".join([str(len(others)), *(f"{j} {10 / abs(i - j)}" for j in others)])]
    (folder / "cams/pair.txt").write_text("\n".join(lines) + "\n")


def write_camera(path: Path, pose: np.ndarray, tail: str) -> None:
    rows = "\n".join(" ".join(f"{x:.9f}" for x in row) for row in pose)
    path.write_text(f"extrinsic\n{rows}\n\nintrinsic\n10 0 3.5\n0 11 2.5\n0 0 1\n\n{tail}\n")
