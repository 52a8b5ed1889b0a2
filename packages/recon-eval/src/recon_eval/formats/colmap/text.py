"""COLMAP's text files: cameras.txt, images.txt, points3D.txt.

    cameras.txt   CAMERA_ID MODEL WIDTH HEIGHT PARAMETERS...
    images.txt    IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of X Y POINT3D_ID ...
    points3D.txt  POINT3D_ID X Y Z R G B ERROR, then IMAGE_ID POINT2D_IDX ...

COLMAP itself reads a name up to its first space; the binary files hold every name whole.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from recon_eval.formats.colmap.model import (
    PIXEL,
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

MAX_BYTES = 8 << 30


def read_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    """Return the number and the lens of each camera."""
    for line in _lines(path):
        words = line.split()
        if words:
            size = (int(words[2]), int(words[3]))
            yield int(words[0]), lens_of(words[1], size, _numbers(words[4:]))


def read_images(path: Path, lenses: dict[int, Lens]) -> Iterator[tuple[Camera, Pixels]]:
    """Return the camera of each image and the pixels of its points (point -1: of none)."""
    lines = _lines(path)
    for line in lines:
        words = line.split(maxsplit=9)
        if words:
            pixels = _pixels(next(lines, "").split())
            lens = lens_named(int(words[8]), lenses)
            yield camera_of(words[9].strip(), _numbers(words[1:8]), lens), pixels


def read_points(path: Path) -> tuple[np.ndarray, PointCloud]:
    """Return the numbers of the points, and the points; their tracks are those of the images."""
    names, values = array("q"), array("d")  # as lists they take a tenth of a kilobyte a number
    for line in _lines(path):
        if words := line.split(maxsplit=7)[:7]:
            if len(words) < 7:
                raise Damaged(f"a point has {len(words)} numbers; it has 7: copy the model again")
            names.append(int(words[0]))
            values.extend(_numbers(words[1:]))
    table = np.array(values).reshape(-1, 6)
    if ((table[:, 3:] < 0) | (table[:, 3:] > 255)).any():
        raise Damaged("a color is not 0 to 255; it must be a byte: copy the model again")
    cloud = PointCloud(points=table[:, :3], colors=table[:, 3:].astype(np.uint8))
    return np.array(names, dtype=np.int64), cloud


def write_cameras(path: Path, cameras: Sequence[Camera]) -> None:
    """Write a PINHOLE camera for each lens, numbered from 1."""
    text = "# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n"
    for number, (size, parameters) in enumerate(lenses_of(cameras)[0], start=1):
        text += f"{number} PINHOLE {size[0]} {size[1]} {' '.join(map(repr, parameters))}\n"
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_images(path: Path, cameras: Sequence[Camera], tracks: Tracks) -> None:
    """Write an image for each camera, and the pixels at which it sees points."""
    _, lens = lenses_of(cameras)
    with new_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID ...\n")
        for i, camera in enumerate(cameras):
            part = slice(tracks.starts[i], tracks.starts[i + 1])
            pose = " ".join(map(repr, pose_of(camera)))
            file.write(f"{i + 1} {pose} {lens[i]} {camera.name}\n")
            rows = zip(tracks.xy[part].tolist(), (tracks.point[part] + 1).tolist(), strict=True)
            file.write(" ".join(f"{x:.9g} {y:.9g} {point}" for (x, y), point in rows) + "\n")


def write_points(path: Path, cloud: PointCloud, tracks: Tracks) -> None:
    """Write points, each with its track; black without colors, errors unknown (-1)."""
    colors = np.zeros((len(cloud), 3), np.uint8) if cloud.colors is None else cloud.colors
    images, places = tracks.camera[tracks.by_point] + 1, tracks.place[tracks.by_point]
    digits = 9 if cloud.points.dtype == np.float32 else 17  # that give back the same numbers
    with new_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR, then IMAGE_ID POINT2D_IDX ...\n")
        for i, ((x, y, z), (r, g, b)) in enumerate(zip(cloud.points, colors, strict=True)):
            part = slice(tracks.point_starts[i], tracks.point_starts[i + 1])
            track = "".join(f" {n} {k}" for n, k in zip(images[part], places[part], strict=True))
            file.write(
                f"{i + 1} {x:.{digits}g} {y:.{digits}g} {z:.{digits}g} {r} {g} {b} -1{track}\n"
            )


def _pixels(words: list[str]) -> Pixels:
    if len(words) % 3:
        raise Damaged(
            f"a line of 2-D points has {len(words)} numbers; each point has three: copy the "
            "model again"
        )
    pixels = np.empty(len(words) // 3, dtype=PIXEL)
    pixels["xy"] = np.array([_numbers(words[0::3]), _numbers(words[1::3])]).T
    pixels["point"] = np.array(list(map(int, words[2::3])), dtype=np.int64)
    return pixels


def _numbers(words: Sequence[str]) -> list[float]:
    values = [float(word) for word in words]
    if not all(abs(value) < 1e30 for value in values):
        raise Damaged(
            f"the numbers {' '.join(words[:8])!r} are not finite; all must be: copy the model again"
        )
    return values


def _lines(path: Path) -> Iterator[str]:
    if path.stat().st_size > MAX_BYTES:
        raise Damaged(
            f"it is larger than {MAX_BYTES >> 30} GiB; no larger text is read: write the model "
            "in binary"
        )
    with path.open(encoding="utf-8-sig") as file:  # Windows begins with a mark
        yield from (line for line in file if not line.lstrip().startswith("#"))
