"""Cameras of a COLMAP model, binary or text. Source: colmap.github.io/format.html."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64

from .known import KnownCamera

Intrinsics = tuple[tuple[int, int], Float64[np.ndarray, "3 3"]]
MAX_IMAGES, MAX_NAME, POINT_BYTES = 1_000_000, 4096, 24

# name, number of parameters, and how many of them are focal lengths; the rest after the
# principal point is distortion. The place in the tuple is COLMAP's number of the model.
MODELS = (
    ("SIMPLE_PINHOLE", 3, 1),
    ("PINHOLE", 4, 2),
    ("SIMPLE_RADIAL", 4, 1),
    ("RADIAL", 5, 1),
    ("OPENCV", 8, 2),
    ("OPENCV_FISHEYE", 8, 2),
    ("FULL_OPENCV", 12, 2),
)
PROJECTIVE = {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"}


def read_colmap(folder: Path) -> list[KnownCamera]:
    """Read the images of a model; binary files win where both are there.

    Raises ValueError when a file is damaged or a camera is distorted.
    """
    binary = (folder / "images.bin").is_file()
    kind = "bin" if binary else "txt"
    cameras, images = folder / f"cameras.{kind}", folder / f"images.{kind}"
    if not cameras.is_file():
        raise FileNotFoundError(f"{cameras} does not exist; a COLMAP model has it")
    try:
        if binary:
            lenses = dict(_binary_cameras(cameras))
            return list(_binary_images(images, lenses))
        lenses = dict(_text_cameras(cameras))
        return list(_text_images(images, lenses))
    except (struct.error, UnicodeDecodeError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"{folder}: the COLMAP model is damaged ({error!r})") from error


def _lens(path: Path, model: str, size: tuple[int, int], parameters: list[float]) -> Intrinsics:
    known = {name: (count, focals) for name, count, focals in MODELS if name in PROJECTIVE}
    if model not in known:
        raise ValueError(
            f"{path}: a camera is {model}; known are {', '.join(known)}: undistort the images "
            "first (colmap image_undistorter)"
        )
    count, focals = known[model]
    if len(parameters) != count or min(size) < 1:
        raise ValueError(f"{path}: a {model} camera has {len(parameters)} parameters, not {count}")
    if any(parameters[focals + 2 :]):
        raise ValueError(
            f"{path}: a {model} camera is distorted ({parameters[focals + 2 :]}), and the networks "
            "see pinhole images: undistort them first (colmap image_undistorter)"
        )
    fx, fy = parameters[0], parameters[focals - 1]
    cx, cy = parameters[focals : focals + 2]
    return size, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def _camera(name: str, pose: list[float], lens: Intrinsics) -> KnownCamera:
    quaternion, translation = np.array(pose[:4]), np.array(pose[4:])
    norm = float(np.linalg.norm(quaternion))
    if not abs(norm - 1) < 1e-3:
        raise ValueError(f"the quaternion of {name} has length {norm:.3g}, and must have 1")
    w, x, y, z = quaternion / norm
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    transform = np.concatenate([rotation, translation[:, None]], axis=1)
    return KnownCamera(name=name, world_to_camera=transform, intrinsics=lens[1], size=lens[0])


def _binary_cameras(path: Path) -> Iterator[tuple[int, Intrinsics]]:
    with path.open("rb") as file:
        for _ in range(_count(file, path)):
            number, model, width, height = struct.unpack("<IiQQ", file.read(24))
            if not 0 <= model < len(MODELS):
                raise ValueError(
                    f"{path}: camera model {model} is unknown; undistort the images first "
                    "(colmap image_undistorter)"
                )
            name, count, _ = MODELS[model]
            parameters = list(struct.unpack(f"<{count}d", file.read(8 * count)))
            yield number, _lens(path, name, (width, height), parameters)


def _binary_images(path: Path, lenses: dict[int, Intrinsics]) -> Iterator[KnownCamera]:
    end = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(_count(file, path)):
            values = struct.unpack("<I7dI", file.read(64))
            name = _name(file, path)
            (points,) = struct.unpack("<Q", file.read(8))
            if file.tell() + points * POINT_BYTES > end:
                raise ValueError(f"{path}: ends within the points of {name}; copy it again")
            file.seek(points * POINT_BYTES, 1)
            yield _camera(name, list(values[1:8]), lenses[values[8]])


def _count(file: BinaryIO, path: Path) -> int:
    (count,) = struct.unpack("<Q", file.read(8))
    if count > MAX_IMAGES:
        raise ValueError(f"{path}: claims {count} entries, and at most {MAX_IMAGES} are read")
    return int(count)


def _name(file: BinaryIO, path: Path) -> str:
    letters = bytearray()
    while (letter := file.read(1)) not in (b"\0", b""):
        letters += letter
        if len(letters) > MAX_NAME:
            raise ValueError(f"{path}: a name is longer than {MAX_NAME} bytes")
    return letters.decode("utf-8")


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("#"))


def _text_cameras(path: Path) -> Iterator[tuple[int, Intrinsics]]:
    for line in _lines(path):
        words = line.split()
        if words:
            size = (int(words[2]), int(words[3]))
            yield int(words[0]), _lens(path, words[1], size, [float(w) for w in words[4:]])


def _text_images(path: Path, lenses: dict[int, Intrinsics]) -> Iterator[KnownCamera]:
    """Every second line is that of an image; the one after it holds 2-D points, or nothing."""
    lines = _lines(path)
    for line in lines:
        words = line.split(maxsplit=9)
        if words:
            pose = [float(word) for word in words[1:8]]
            yield _camera(words[9].strip(), pose, lenses[int(words[8])])
            next(lines, None)
