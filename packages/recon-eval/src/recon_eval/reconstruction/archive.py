"""Everything that was predicted, as one NumPy archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon_eval.formats import read_npz, write_npz
from recon_eval.reconstruction.view import View

FIELDS = {
    "images": "image",
    "depth": "depth",
    "confidence": "confidence",
    "world_to_camera": "world_to_camera",
    "intrinsics": "intrinsics",
    "original_intrinsics": "original_intrinsics",
}
LARGEST = 64 << 30  # bytes
ARRAYS = ("names", "original_size", "known", *FIELDS)
KINDS = {"names": "U", "original_size": "iu", "known": "b", "images": "u"}  # others are floats


def write_archive(path: Path, views: Sequence[View]) -> None:
    """Write `names`, `images`, `depth`, `confidence`, cameras and original sizes, stacked by view.

    Axes: `depth` v y x, `images` v y x 3 (uint8), `world_to_camera` v 3 4, `intrinsics`
    v 3 3 in pixels of `images`, `original_intrinsics` v 3 3, `original_size` v 2 (width, height),
    `known` v y x (False where depth is unknown or masked), by which it is read again.
    `keep` v y x, for people: pixels that passed the masks, all of them where there were none.
    View follows view into the file: nothing is stacked in memory.
    """
    kept = [np.ones(v.depth.shape, bool) if v.keep is None else v.keep for v in views]
    stacked = {field: [getattr(v, name)[None] for v in views] for field, name in FIELDS.items()}
    write_npz(
        path,
        {
            "names": np.array([view.name for view in views]),
            "original_size": np.array([view.original_size for view in views]),
            "known": [view.known[None] for view in views],
            **stacked,
            "keep": [keep[None] for keep in kept],
        },
    )


def read_archive(path: Path) -> list[View]:
    """Read what `write_archive` wrote.

    Raises ValueError when the file is missing, damaged, of another kind, or holds Python objects.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; a reconstruction that can be shown holds it: run "
            "lite3r reconstruct with npz among its --formats"
        )
    arrays = read_npz(path, ARRAYS, max_bytes=LARGEST)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} is no archive of lite3r reconstruct; it lacks {missing[0]}: reconstruct again"
        )
    _check(path, arrays)
    return [
        View(
            name=str(arrays["names"][i]),
            original_size=(int(size[0]), int(size[1])),
            keep=arrays["known"][i],
            **{name: arrays[field][i] for field, name in FIELDS.items()},
        )
        for i, size in enumerate(arrays["original_size"])
    ]


def _check(path: Path, arrays: dict[str, Any]) -> None:
    if arrays["names"].ndim != 1 or arrays["depth"].ndim != 3:
        raise ValueError(
            f"{path}: names and depth have {arrays['names'].ndim} and "
            f"{arrays['depth'].ndim} axes; they must have 1 and 3: reconstruct again"
        )
    views, (height, width) = len(arrays["names"]), arrays["depth"].shape[1:]
    wanted = {
        "images": (views, height, width, 3),
        "depth": (views, height, width),
        "confidence": (views, height, width),
        "known": (views, height, width),
        "world_to_camera": (views, 3, 4),
        "intrinsics": (views, 3, 3),
        "original_intrinsics": (views, 3, 3),
        "original_size": (views, 2),
    }
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} has shape {arrays[name].shape}; it must have {shape}: "
                "reconstruct again"
            )
    for name in ARRAYS:
        if arrays[name].dtype.kind not in KINDS.get(name, "f"):
            raise ValueError(
                f"{path}: {name} is of {arrays[name].dtype}; it must have the type that was "
                "written: reconstruct again"
            )
