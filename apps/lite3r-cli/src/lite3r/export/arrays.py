"""Everything that was predicted, as one NumPy archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import atomic
from .reconstruction import View


def write_npz(path: Path, views: Sequence[View]) -> None:
    """Write `names`, `images`, `depth`, `confidence`, cameras and original sizes, stacked by view.

    Axes: `depth` v y x, `images` v y x 3 (uint8), `world_to_camera` v 3 4, `intrinsics`
    v 3 3 in pixels of `images`, `original_intrinsics` v 3 3, `original_size` v 2 (width, height).
    """
    arrays: dict[str, Any] = {
        field: np.stack([getattr(view, name) for view in views])
        for field, name in {
            "images": "image",
            "depth": "depth",
            "confidence": "confidence",
            "world_to_camera": "world_to_camera",
            "intrinsics": "intrinsics",
            "original_intrinsics": "original_intrinsics",
        }.items()
    }
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            names=np.array([view.name for view in views]),
            original_size=np.array([view.original_size for view in views]),
            **arrays,
        )
