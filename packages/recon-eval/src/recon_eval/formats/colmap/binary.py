"""COLMAP's binary files: cameras.bin, images.bin, points3D.bin; little endian, counts first."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon_eval.formats.colmap.model import (
    MODELS,
    PIXEL,
    UNDISTORT,
    Damaged,
    Lens,
    Pixels,
    camera_of,
    lens_named,
    lens_of,
    lenses_of,
    pose_of,
)
from recon_eval.formats.colmap.tracks import Tracks
from recon_eval.formats.files import new_file
from recon_eval.formats.records import Camera, PointCloud

MAX_IMAGES, MAX_NAME = 1_000_000, 4096
PINHOLE = 1
CHUNK = 100_000  # points written at once
POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
)
SIGHT = np.dtype([("image", "<u4"), ("place", "<u4")])


def read_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    """Return the number and the lens of each camera."""
    with path.open("rb") as file:
        for _ in range(_count(file, MAX_IMAGES)):
            number, model, width, height = struct.unpack("<IiQQ", file.read(24))
            if not 0 <= model < len(MODELS):
                raise Damaged(
                    f"camera model {model} is unknown; pinhole cameras are read: {UNDISTORT}"
                )
            name, count, _ = MODELS[model]
            parameters = struct.unpack(f"<{count}d", file.read(8 * count))
            yield number, lens_of(name, (width, height), parameters)


def read_images(path: Path, lenses: dict[int, Lens]) -> Iterator[tuple[Camera, Pixels]]:
    """Return the camera of each image and the pixels of its points (point -1: of none)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(_count(file, MAX_IMAGES)):
            values = struct.unpack("<I7dI", file.read(64))
            name = _name(file)
            (pixels,) = struct.unpack("<Q", file.read(8))
            if file.tell() + pixels * PIXEL.itemsize > size:
                raise Damaged(
                    f"it ends within the points of {name[:60]!r}; it must be whole: copy it again"
                )
            seen = np.fromfile(file, dtype=PIXEL, count=pixels)
            yield camera_of(name, values[1:8], lens_named(values[8], lenses)), seen


def read_points(path: Path) -> tuple[np.ndarray, PointCloud]:
    """Return the numbers of the points, and the points; their tracks are those of the images."""
    size = path.stat().st_size
    with path.open("rb") as file:
        count = _count(file, size // POINT.itemsize)
        points = np.empty(count, dtype=POINT)
        for i in range(count):
            record = file.read(POINT.itemsize)
            points[i] = np.frombuffer(record, dtype=POINT, count=1)[0]
            track = int(points[i]["track"])
            if file.tell() + track * SIGHT.itemsize > size:
                raise Damaged(
                    f"it ends within the track of point {i + 1}; it must be whole: copy it again"
                )
            file.seek(track * SIGHT.itemsize, 1)
    return points["id"].astype(np.int64), PointCloud(points=points["xyz"], colors=points["rgb"])


def write_cameras(path: Path, cameras: Sequence[Camera]) -> None:
    """Write a PINHOLE camera for each lens, numbered from 1."""
    lenses, _ = lenses_of(cameras)
    data = struct.pack("<Q", len(lenses))
    for number, (size, parameters) in enumerate(lenses, start=1):
        data += struct.pack("<IiQQ4d", number, PINHOLE, *size, *parameters)
    with new_file(path) as partial:
        partial.write_bytes(data)


def write_images(path: Path, cameras: Sequence[Camera], tracks: Tracks) -> None:
    """Write an image for each camera, and the pixels at which it sees points."""
    _, lens = lenses_of(cameras)
    with new_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(cameras)))
        for i, camera in enumerate(cameras):
            part = slice(tracks.starts[i], tracks.starts[i + 1])
            pixels = np.empty(len(tracks.point[part]), dtype=PIXEL)
            pixels["xy"], pixels["point"] = tracks.xy[part], tracks.point[part] + 1
            file.write(struct.pack("<I7dI", i + 1, *pose_of(camera), lens[i]))
            file.write(camera.name.encode() + b"\0" + struct.pack("<Q", len(pixels)))
            file.write(pixels.tobytes())


def write_points(path: Path, cloud: PointCloud, tracks: Tracks) -> None:
    """Write points in pieces, each with its track; black without colors, errors unknown (-1)."""
    colors = np.zeros((len(cloud), 3), np.uint8) if cloud.colors is None else cloud.colors
    with new_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(cloud)))
        for start in range(0, len(cloud), CHUNK):
            part = slice(start, min(start + CHUNK, len(cloud)))
            bounds = tracks.point_starts[part.start : part.stop + 1]
            points = np.empty(len(bounds) - 1, dtype=POINT)
            points["id"] = np.arange(part.start, part.stop) + 1
            points["xyz"], points["rgb"] = cloud.points[part], colors[part]
            points["error"], points["track"] = -1.0, np.diff(bounds)
            file.write(_woven(points, tracks, bounds))


def _woven(points: np.ndarray, tracks: Tracks, bounds: np.ndarray) -> bytes:
    """Records of points, each followed by its track: what has no fixed length, without a loop."""
    chosen = tracks.by_point[bounds[0] : bounds[-1]]
    sights = np.empty(len(chosen), dtype=SIGHT)
    sights["image"], sights["place"] = tracks.camera[chosen] + 1, tracks.place[chosen]
    lengths = np.diff(bounds)
    before = bounds[:-1] - bounds[0]  # observations of the points before each
    heads = np.arange(len(points)) * POINT.itemsize + before * SIGHT.itemsize
    owner = np.repeat(np.arange(len(points)), lengths)
    tails = (owner + 1) * POINT.itemsize + np.arange(len(sights)) * SIGHT.itemsize
    woven = np.empty(points.nbytes + sights.nbytes, dtype=np.uint8)
    for places, records in ((heads, points), (tails, sights)):
        width = records.dtype.itemsize
        raw = np.frombuffer(records.tobytes(), dtype=np.uint8).reshape(-1, width)
        woven[places[:, None] + np.arange(width)] = raw
    return woven.tobytes()


def _count(file: BinaryIO, most: int) -> int:
    (count,) = struct.unpack("<Q", file.read(8))
    if count > most:
        raise Damaged(f"it claims {count} entries; at most {most} can be read: copy it again")
    return int(count)


def _name(file: BinaryIO) -> str:
    letters = bytearray()
    while (letter := file.read(1)) not in (b"\0", b""):
        letters += letter
        if len(letters) > MAX_NAME:
            raise Damaged(f"a name is longer than {MAX_NAME} bytes; none may be: copy it again")
    return letters.decode("utf-8")
