"""Cameras as nerfstudio's transforms.json."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import atomic
from .linked import FOLDER
from .reconstruction import View

OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_transforms(path: Path, views: Sequence[View], *, points: str | None = None) -> None:
    """Write one frame per view, with intrinsics in pixels of the original photo.

    `transform_matrix` is camera to world with OpenGL cameras (x right, y up, looking
    along -z). Photos are those that `link_photos` puts beside `path`.
    points: PLY file beside `path`, in the same world frame, from which splats may start.
    """
    document: dict[str, object] = {
        "camera_model": "OPENCV",
        "frames": [_frame(view) for view in views],
    }
    if points is not None:
        document["ply_file_path"] = points
    atomic.write_json(path, document)


def _frame(view: View) -> dict[str, object]:
    width, height = view.original_size
    camera = view.original_intrinsics
    return {
        "file_path": f"{FOLDER}/{view.name}",
        "fl_x": float(camera[0, 0]),
        "fl_y": float(camera[1, 1]),
        "cx": float(camera[0, 2]),
        "cy": float(camera[1, 2]),
        "w": width,
        "h": height,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "transform_matrix": (view.camera_to_world @ OPENCV_TO_OPENGL).tolist(),
    }
