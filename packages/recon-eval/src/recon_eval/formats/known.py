"""Cameras of any known kind, whichever file or folder they are in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from recon_eval.formats.arrays import read_npz
from recon_eval.formats.cam_txt import read_cam_txt
from recon_eval.formats.colmap import read_colmap_cameras
from recon_eval.formats.files import SEEN
from recon_eval.formats.records import Camera
from recon_eval.formats.transforms import read_transforms

MAX_BYTES = 64 << 30  # an archive of depth maps and photos, of which cameras are a small part
CAM_TXT = f"{SEEN}*_cam.txt"
NEEDED = ("names", "world_to_camera")
KINDS = (
    "a folder with a COLMAP model (cameras and images, .bin or .txt), nerfstudio's "
    "transforms.json, an .npz with names, world_to_camera and intrinsics, or a folder of "
    "MVSNet's *_cam.txt"
)


def read_cameras(path: str | Path) -> tuple[Path, list[Camera]]:
    """Return the file or folder that holds the cameras, and the cameras.

    A folder may also be that of a reconstruction: its sparse/0, sparse or transforms.json is used.
    Raises ValueError or OSError where there are none, or what is wrong with them.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: does not exist; cameras are {KINDS}")
    for accepts, read in _READERS:
        where = accepts(path)
        if where is not None:
            cameras = read(where)
            if not cameras:
                raise ValueError(
                    f"{where}: holds no camera; it must hold one at least: give the file of "
                    "these photos"
                )
            return where, cameras
    raise ValueError(
        f"{path}: holds no cameras that are known here; cameras are {KINDS}: give one of these"
    )


def read_npz_cameras(path: str | Path) -> list[Camera]:
    """Read `names` v, `world_to_camera` v 3 4 (or v 4 4), and intrinsics v 3 3 of an archive.

    `original_intrinsics` with `original_size` (width, height) are used where they are there, else
    `intrinsics`, which then are in pixels of the photos. Raises ValueError where an array is
    missing or of another shape.
    """
    lenses = ("original_intrinsics", "intrinsics")
    found = read_npz(path, (*NEEDED, *lenses, "original_size"), max_bytes=MAX_BYTES)
    lens = lenses[0] if lenses[0] in found else lenses[1]
    missing = [name for name in (*NEEDED, lens) if name not in found]
    shape = {name: values.shape for name, values in found.items()}
    count = len(found["names"]) if shape.get("names") else 0
    if (
        missing
        or shape["world_to_camera"] not in ((count, 3, 4), (count, 4, 4))
        or shape[lens] != (count, 3, 3)
        or shape.get("original_size", (count, 2)) != (count, 2)
    ):
        raise ValueError(
            f"{path}: has {shape}, and lacks {', '.join(missing) or 'nothing'}; an archive "
            "of cameras has names (v), world_to_camera (v, 3, 4) and intrinsics (v, 3, 3) "
            "in pixels of the photos: save these"
        )
    sizes = found.get("original_size")
    try:
        return [
            Camera(
                name=str(found["names"][i]),
                world_to_camera=found["world_to_camera"][i].astype(np.float64),
                intrinsics=found[lens][i].astype(np.float64),
                size=None if sizes is None else (int(sizes[i, 0]), int(sizes[i, 1])),
            )
            for i in range(count)
        ]
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_cam_txt(folder: Path) -> list[Camera]:
    """MVSNet's files; they name no image size, so they speak of the photos as they are."""
    return [
        read_cam_txt(file, two_numbers="min_interval").camera  # depth ranges are not used
        for file in sorted(folder.glob(CAM_TXT))
    ]


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
    return path if path.is_dir() and any(path.glob(CAM_TXT)) else None


_READERS: tuple[tuple[Callable[[Path], Path | None], Callable[[Path], list[Camera]]], ...] = (
    (_colmap, read_colmap_cameras),
    (_transforms, read_transforms),
    (_npz, read_npz_cameras),
    (_cam_txt, _read_cam_txt),
)
