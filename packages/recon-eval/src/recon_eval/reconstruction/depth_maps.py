"""Depth maps as images: 16-bit PNG and 32-bit TIFF for programs, color PNG for people."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float
from PIL import Image

from recon_eval.formats import new_file, write_depth, write_json
from recon_eval.formats.depth import LARGEST, QUICK
from recon_eval.pages.pictures import depth_picture, depth_range
from recon_eval.reconstruction.view import View

PREVIEW = "_preview"  # after the name of a picture for people


def write_depth_maps(folder: Path, views: Sequence[View]) -> None:
    """Write `NAME.png`, `NAME.tiff`, `NAME_preview.png` for every view, and `scale.json`.

    PNG: 16 bits, 0 for no depth; depth in units of the reconstruction = pixel value *
    `depth_per_value`, the same for every view; the farthest depth is 65535.
    TIFF: 32-bit floats, depth itself, 0 for none. View after view: nothing is stacked.
    Raises ValueError when no pixel has a depth.
    """
    farthest = max(float(_known(view).max()) for view in views)
    if farthest <= 0:
        raise ValueError(
            "no pixel has a positive depth; no depth image can be written: leave the format out"
        )
    unit = farthest / LARGEST
    near, far = depth_range(*(_known(view)[::4, ::4] for view in views))

    def write(name: str, view: View) -> None:
        depth = _known(view)
        write_depth(folder / f"{name}.png", depth, unit=unit)
        write_depth(folder / f"{name}.tiff", depth)
        with new_file(folder / f"{name}{PREVIEW}.png") as partial:
            Image.fromarray(depth_picture(depth, near, far)).save(partial, compress_level=QUICK)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow holds no lock while it encodes
        list(pool.map(write, file_names(views), views))
    write_json(folder / "scale.json", {"depth_per_value": unit})


def _known(view: View) -> Float[np.ndarray, "y x"]:
    """Depth of a view, 0 where there is none."""
    there = np.isfinite(view.depth) & (view.depth > 0)
    if view.keep is not None:
        there &= view.keep
    return np.where(there, view.depth, 0.0).astype(np.float32)


def file_names(views: Sequence[View]) -> list[str]:
    """One file name without ending per view, all different: a/b.jpg becomes a_b.

    No name is that of the preview of another: a_preview.jpg beside a.jpg becomes a_preview_.
    """
    names: list[str] = []
    plain = [str(PurePosixPath(view.name).with_suffix("")).replace("/", "_") for view in views]
    taken = {f"{name}{PREVIEW}" for name in plain}
    for name in plain:
        while name in taken:
            name += "_"
        names.append(name)
        taken |= {name, f"{name}{PREVIEW}"}
    return names
