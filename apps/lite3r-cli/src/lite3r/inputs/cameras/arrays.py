"""Cameras of a NumPy archive, such as `prediction.npz` of a reconstruction."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from .known import KnownCamera

MAX_BYTES = 4 << 30
NEEDED = ("names", "world_to_camera")


def read_arrays(path: Path) -> list[KnownCamera]:
    """Read `names` v, `world_to_camera` v 3 4 (or v 4 4), and intrinsics v 3 3.

    `original_intrinsics` with `original_size` (width, height) are used where they are there,
    else `intrinsics`, which then are in pixels of the photos. Nothing is unpickled.
    Raises ValueError when an array is missing or of another shape.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES >> 30} GB")
    try:
        with np.load(path, allow_pickle=False) as stored:
            original = "original_intrinsics" in stored
            lens = "original_intrinsics" if original else "intrinsics"
            missing = [name for name in (*NEEDED, lens) if name not in stored]
            if missing:
                raise ValueError(f"lacks {', '.join(missing)}")
            names, poses, lenses = (np.asarray(stored[n]) for n in (*NEEDED, lens))
            sizes = np.asarray(stored["original_size"]) if "original_size" in stored else None
        count = len(names)
        if poses.shape not in ((count, 3, 4), (count, 4, 4)) or lenses.shape != (count, 3, 3):
            raise ValueError(
                f"has {count} names, world_to_camera {poses.shape} and {lens} {lenses.shape}"
            )
        if sizes is not None and sizes.shape != (count, 2):
            raise ValueError(f"original_size has shape {sizes.shape}, not ({count}, 2)")
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: {error}; an archive of cameras has names (v), world_to_camera (v, 3, 4) "
            "and intrinsics (v, 3, 3) in pixels of the photos"
        ) from error
    return [
        KnownCamera(
            name=str(name),
            world_to_camera=pose[:3].astype(np.float64),
            intrinsics=lens_of.astype(np.float64),
            size=None if sizes is None else (int(sizes[i, 0]), int(sizes[i, 1])),
        )
        for i, (name, pose, lens_of) in enumerate(zip(names, poses, lenses, strict=True))
    ]
