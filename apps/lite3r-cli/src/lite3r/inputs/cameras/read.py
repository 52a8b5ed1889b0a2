"""Which kind of file holds the cameras, and its reader."""

from collections.abc import Callable
from pathlib import Path

from recon_eval.formats import read_cam_txt

from .arrays import read_arrays
from .colmap import read_colmap
from .known import KnownCamera, KnownCameras
from .transforms import read_transforms

KINDS = (
    "a folder with a COLMAP model (cameras and images, .bin or .txt), nerfstudio's "
    "transforms.json, an .npz with names, world_to_camera and intrinsics, or a folder of "
    "MVSNet's *_cam.txt"
)


def read_cameras(path: Path) -> KnownCameras:
    """Read cameras of any known kind. Raises ValueError or OSError saying what is wrong with them.

    A folder may also be that of a reconstruction: its sparse/0, sparse or transforms.json is used.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; cameras are {KINDS}")
    for accepts, read in _READERS:
        where = accepts(path)
        if where is not None:
            return KnownCameras(source=where, cameras=tuple(read(where)))
    raise ValueError(f"{path} holds no cameras that are known here; cameras are {KINDS}")


def _colmap(path: Path) -> Path | None:
    for folder in (path, path / "sparse/0", path / "sparse"):
        for ending in ("bin", "txt"):
            if (folder / f"images.{ending}").is_file():
                return folder
    return None


def _transforms(path: Path) -> Path | None:
    file = path / "transforms.json" if path.is_dir() else path
    return file if file.suffix == ".json" and file.is_file() else None


def _npz(path: Path) -> Path | None:
    return path if path.suffix == ".npz" and path.is_file() else None


def _cam_txt(path: Path) -> Path | None:
    return path if path.is_dir() and any(path.glob("*_cam.txt")) else None


def _read_cam_txt(folder: Path) -> list[KnownCamera]:
    """MVSNet's files; they name no image size, so they speak of the photos as they are."""
    found = []
    for file in sorted(folder.glob("*_cam.txt")):
        camera = read_cam_txt(file, two_numbers="min_interval").camera  # depth ranges are not used
        found.append(
            KnownCamera(
                name=file.name.removesuffix("_cam.txt"),
                world_to_camera=camera.world_to_camera,
                intrinsics=camera.intrinsics,
            )
        )
    return found


_READERS: tuple[tuple[Callable[[Path], Path | None], Callable[[Path], list[KnownCamera]]], ...] = (
    (_colmap, read_colmap),
    (_transforms, read_transforms),
    (_npz, read_arrays),
    (_cam_txt, _read_cam_txt),
)
