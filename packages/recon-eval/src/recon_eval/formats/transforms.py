"""nerfstudio's transforms.json, and Blender's, which it extends.

`transform_matrix` is camera to world with OpenGL cameras (x right, y up, looking along -z).
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon_eval.formats.files import parse_json, read_bounded, write_json
from recon_eval.formats.records import Camera, check_straight

MAX_BYTES = 256 << 20
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenCV's and OpenGL's cameras, both ways
# Coefficients of any model, as k5 and k6 of OpenCV's and b1 and b2 of Metashape's.
DISTORTION = re.compile(r"[bkps]\d+|distortion_params|is_fisheye")  # the last is instant-ngp's
MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")


def read_transforms(path: str | Path) -> list[Camera]:
    """Return one camera a frame; values of a frame win over those of the file.

    Raises ValueError where the file is malformed, a camera is distorted, or no size is stated.
    """
    return [camera for camera, _ in read_frames(path)]


def read_frames(
    path: str | Path, lists: Sequence[str] = ("frames",)
) -> list[tuple[Camera, Mapping[str, Any]]]:
    """Return the camera of each frame beside all that the file says of it.

    `lists` names the lists of frames; the first must be there.
    """
    path = Path(path)
    document = parse_json(read_bounded(path, MAX_BYTES), path)
    try:
        frames = [
            {**document, **frame}
            for name in lists
            for frame in (document[name] if name == lists[0] else document.get(name, ()))
        ]
        return [(_camera(frame), frame) for frame in frames]
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: is no transforms.json ({error!r}); it has {lists[0]}, each with "
            "file_path and transform_matrix: write it so"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_transforms(
    path: str | Path,
    cameras: Sequence[Camera],
    *,
    points: str | None = None,
    masks: Sequence[str] | None = None,
) -> None:
    """Write one frame a camera, its name as `file_path`.

    - `points`: a PLY file, named from the folder of `path`, in the same world frame, from which
      splats may start.
    - `masks`: the mask of each image, named likewise: black is ignored.

    Raises ValueError where a camera has no size, or a skew, or masks and cameras differ in number.
    """
    if masks is not None and len(masks) != len(cameras):
        raise ValueError(
            f"masks={len(masks)} names; it must be one a camera, and cameras are "
            f"{len(cameras)}: give as many"
        )
    named = [{} if masks is None else {"mask_path": masks[i]} for i in range(len(cameras))]
    document: dict[str, object] = {
        "camera_model": "OPENCV",
        "frames": [_frame(camera) | mask for camera, mask in zip(cameras, named, strict=True)],
    }
    if points is not None:
        document["ply_file_path"] = points
    write_json(Path(path), document)


def _frame(camera: Camera) -> dict[str, object]:
    if camera.size is None:
        raise ValueError(
            f"{camera.name}: size=None; transforms.json needs the width and height: give the "
            "size of the photo"
        )
    check_straight(camera, "transforms.json")
    lens = camera.intrinsics
    return {
        "file_path": camera.name,
        "fl_x": float(lens[0, 0]),
        "fl_y": float(lens[1, 1]),
        "cx": float(lens[0, 2]),
        "cy": float(lens[1, 2]),
        "w": camera.size[0],
        "h": camera.size[1],
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "transform_matrix": (camera.camera_to_world @ OPENGL).tolist(),
    }


def _camera(frame: Mapping[str, Any]) -> Camera:
    name = str(frame["file_path"])
    stated = {key: value for key, value in frame.items() if DISTORTION.fullmatch(key)}
    bent = {k: v for k, v in stated.items() if any(v if isinstance(v, list) else [v])}
    if bent or frame.get("camera_model", MODELS[0]) not in MODELS:
        raise ValueError(
            f"the camera of {name} is distorted ({bent or frame['camera_model']}); the "
            "networks see pinhole images: undistort them first"
        )
    pose = np.array(frame["transform_matrix"], dtype=np.float64)
    if pose.shape not in ((4, 4), (3, 4)) or not np.isfinite(pose).all():
        raise ValueError(
            f"transform_matrix of {name} has shape {pose.shape}; it must be 4 x 4 finite "
            "numbers: write camera-to-world matrices"
        )
    if abs(np.linalg.det(pose[:3, :3])) < 1e-6:
        raise ValueError(
            f"transform_matrix of {name} is no rotation and translation; it must be rigid: "
            "write camera-to-world matrices"
        )
    if not np.allclose(pose[3:], [0, 0, 0, 1], atol=1e-6):
        raise ValueError(
            f"transform_matrix of {name} has the last row {pose[3]}; it must be 0 0 0 1: write "
            "camera-to-world matrices, not transposed"
        )
    world_to_camera = OPENGL @ np.linalg.inv(np.concatenate([pose[:3], [[0.0, 0.0, 0.0, 1.0]]]))
    intrinsics, size = _lens(name, frame)
    return Camera(name=name, world_to_camera=world_to_camera[:3], intrinsics=intrinsics, size=size)


def _lens(
    name: str, frame: Mapping[str, Any]
) -> tuple[Float64[np.ndarray, "3 3"], tuple[int, int]]:
    if "w" not in frame or "h" not in frame:
        raise ValueError(
            f"says neither w nor h of {name}; both are needed: add its width and height"
        )
    width, height = int(frame["w"]), int(frame["h"])
    fx, fy = (_focal(frame, axis, side) for axis, side in (("x", width), ("y", height)))
    if fx is None:
        raise ValueError(f"says neither fl_x nor camera_angle_x of {name}; one is needed: add it")
    fy = fx if fy is None else fy
    cx, cy = float(frame.get("cx", width / 2)), float(frame.get("cy", height / 2))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), (width, height)


def _focal(frame: Mapping[str, Any], axis: str, side: int) -> float | None:
    """The focal length along an axis, as itself or as the angle of that side of the image."""
    if f"fl_{axis}" in frame:
        return float(frame[f"fl_{axis}"])
    angle = frame.get(f"camera_angle_{axis}")
    return None if angle is None else side / 2 / math.tan(float(angle) / 2)
