"""Depth maps as images: 16-bit PNG for programs, colour PNG for people."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from .. import atomic
from ..figures import depth_picture, depth_range
from .reconstruction import View

LARGEST = 65535


def write_depth(folder: Path, views: Sequence[View]) -> None:
    """Write `NAME.png` (16 bits, 0 for no depth), `NAME_preview.png`, and `scale.json`.

    Depth in units of the reconstruction = pixel value * `depth_per_value`, the same for
    every view; the farthest depth is 65535.
    """
    stacked = [np.where(np.isfinite(v.depth) & (v.depth > 0), v.depth, 0.0) for v in views]
    farthest = max(float(depth.max()) for depth in stacked)
    if farthest <= 0:
        raise ValueError("no pixel has a positive depth, so no depth image can be written")
    near, far = depth_range(*stacked)
    for name, depth in zip(file_names(views), stacked, strict=True):
        values = np.maximum((depth / farthest * LARGEST).round(), depth > 0).astype(np.uint16)
        _save(folder / f"{name}.png", Image.fromarray(values))
        _save(folder / f"{name}_preview.png", Image.fromarray(depth_picture(depth, near, far)))
    atomic.write_json(folder / "scale.json", {"depth_per_value": farthest / LARGEST})


def file_names(views: Sequence[View]) -> list[str]:
    """One file name without ending per view, all different: a/b.jpg becomes a_b."""
    names: list[str] = []
    for view in views:
        name = str(PurePosixPath(view.name).with_suffix("")).replace("/", "_")
        while name in names:
            name += "_"
        names.append(name)
    return names


def _save(path: Path, image: Image.Image) -> None:
    with atomic.new_file(path) as partial:
        image.save(partial, format="png")
