"""Cameras of nerfstudio's transforms.json, and of Blender's, which it extends."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from .known import KnownCamera

MAX_BYTES = 256 << 20
OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_transforms(path: Path) -> list[KnownCamera]:
    """Read one camera a frame; values of a frame win over those of the file.

    Raises ValueError when the file is malformed, a camera is distorted, or no size is stated.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES >> 20} MB")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        frames = document["frames"]
        return [_camera(path, {**document, **frame}) for frame in frames]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: is no transforms.json ({error!r}); it has frames, each with file_path and "
            "transform_matrix"
        ) from error


def _camera(path: Path, frame: dict[str, Any]) -> KnownCamera:
    name = str(frame["file_path"])
    bent = {key: frame[key] for key in DISTORTION if frame.get(key)}
    if bent or frame.get("camera_model", "OPENCV") not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
        raise ValueError(
            f"{path}: the camera of {name} is distorted ({bent or frame['camera_model']}), and the "
            "networks see pinhole images: undistort them first"
        )
    pose = np.array(frame["transform_matrix"], dtype=np.float64)
    if pose.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"{path}: transform_matrix of {name} has shape {pose.shape}, not (4, 4)")
    pose = np.concatenate([pose[:3], [[0.0, 0.0, 0.0, 1.0]]])
    if abs(np.linalg.det(pose[:3, :3])) < 1e-6:
        raise ValueError(f"{path}: transform_matrix of {name} is no rotation and translation")
    world_to_camera = OPENGL_TO_OPENCV @ np.linalg.inv(pose)
    intrinsics, size = _lens(path, name, frame)
    return KnownCamera(
        name=name, world_to_camera=world_to_camera[:3], intrinsics=intrinsics, size=size
    )


def _lens(
    path: Path, name: str, frame: dict[str, Any]
) -> tuple[Float64[np.ndarray, "3 3"], tuple[int, int]]:
    if "w" not in frame or "h" not in frame:
        raise ValueError(f"{path}: says neither w nor h of {name}; add its width and height")
    width, height = int(frame["w"]), int(frame["h"])
    if "fl_x" in frame:
        fx = float(frame["fl_x"])
    elif "camera_angle_x" in frame:
        fx = width / 2 / math.tan(float(frame["camera_angle_x"]) / 2)
    else:
        raise ValueError(f"{path}: says neither fl_x nor camera_angle_x of {name}")
    fy = float(frame.get("fl_y", fx))
    cx, cy = float(frame.get("cx", width / 2)), float(frame.get("cy", height / 2))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), (width, height)
