"""Cameras of COLMAP's text models, for undistorted images.

    cameras.txt   CAMERA_ID MODEL WIDTH HEIGHT PARAMETERS...
    images.txt    IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of 2-D points

Source: COLMAP's documentation, "Output format". Rotations are world to camera, quaternions scalar
first, pixel centres at + 0.5.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from .cam_txt import check_camera
from .files import numbers
from .frames import Frame, Pinhole
from .mvsnet import require_file

MAX_BYTES = 2 << 30  # lines of 2-D points can be long, and are skipped
MODELS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4}


def colmap_frames(model: Path, images: Path) -> dict[int, Frame]:
    """Return the frames of a text model in order of their names, numbered from 0."""
    cameras = _read_cameras(model / "cameras.txt")
    found: dict[str, Frame] = {}
    for words in _image_lines(model / "images.txt"):
        path = model / "images.txt"
        name = " ".join(words[9:])
        if len(words) < 10 or words[8] not in cameras or name in found:
            raise ValueError(f"{path}: the image line of {name[:60]!r} is malformed or repeated")
        size, intrinsics = cameras[words[8]]
        extrinsic = _extrinsic(np.array(numbers(words[1:8], path, name)), path)
        check_camera(extrinsic, intrinsics, f"{path}: {name}")
        found[name] = Frame(
            name=Path(name).stem,
            image=require_file(_inside(images, name, path), path),
            camera=Pinhole(world_to_camera=extrinsic[:3], intrinsics=intrinsics),
            camera_size=size,
        )
    if not found:
        raise ValueError(f"{model / 'images.txt'}: names no image")
    return dict(enumerate(found[name] for name in sorted(found)))


def _inside(folder: Path, name: str, path: Path) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise ValueError(f"{path}: the image {name[:60]!r} lies outside {folder}")
    return folder / name


def _read_cameras(path: Path) -> dict[str, tuple[tuple[int, int], Float64[np.ndarray, "3 3"]]]:
    found = {}
    for line in _lines(path):
        words = line.split()
        if not words:
            continue
        if len(words) < 4 or words[1] not in MODELS:
            raise ValueError(
                f"{path}: camera {' '.join(words[:2])!r} is not {' or '.join(MODELS)}: undistort "
                "the images first"
            )
        width, height, *rest = numbers(words[2:], path, f"camera {words[0]}")
        if len(rest) != MODELS[words[1]] or not (width >= 1 and height >= 1):
            raise ValueError(f"{path}: camera {words[0]} has {len(rest)} parameters of {words[1]}")
        fx, fy, cx, cy = rest if len(rest) == 4 else (rest[0], *rest)
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        found[words[0]] = ((int(height), int(width)), matrix)
    return found


def _image_lines(path: Path) -> Iterator[list[str]]:
    """The first line of every image; the second holds its 2-D points and may be empty."""
    lines = _lines(path)
    for line in lines:
        if line.strip():
            yield line.split()
            next(lines, None)


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist; a COLMAP text model has it")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES} bytes")
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line for line in file if not line.startswith("#"))


def _extrinsic(values: Float64[np.ndarray, "7"], path: Path) -> Float64[np.ndarray, "4 4"]:
    norm = float(np.linalg.norm(values[:4]))
    if abs(norm - 1) > 1e-3:
        raise ValueError(f"{path}: a quaternion has the norm {norm:.3g}, and must have 1")
    w, x, y, z = values[:4] / norm
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    extrinsic[:3, 3] = values[4:]
    return extrinsic
