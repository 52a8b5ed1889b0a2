"""Cameras and points as a COLMAP model, binary and text.

Format: colmap.github.io/format.html. Every view has its own PINHOLE camera, in pixels
of the original photo; points carry no tracks, and -1 as reprojection error (unknown).
COLMAP itself reads a name from a text file up to its first space; the binary files, which
readers prefer when both are there, hold every name whole.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .. import atomic
from .reconstruction import PointCloud, View

PINHOLE = 1
POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
)


def write_colmap(folder: Path, cloud: PointCloud, views: Sequence[View]) -> None:
    """Write cameras, images and points3D, each as .bin and .txt, into `folder`."""
    _write_cameras(folder, views)
    _write_images(folder, views)
    _write_points(folder, cloud)


def quaternion_wxyz(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion of a rotation, scalar first and not negative.

    It is the eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000,
    "New method for extracting the quaternion from a rotation matrix"), so a matrix
    that is only nearly a rotation gives the nearest one.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    quaternion = np.array([w, x, y, z])
    return quaternion if w >= 0 else -quaternion


def _pinhole(view: View) -> list[float]:
    camera = view.original_intrinsics
    return [float(camera[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]


def _pose(view: View) -> list[float]:
    rotation, translation = view.world_to_camera[:, :3], view.world_to_camera[:, 3]
    return [*map(float, quaternion_wxyz(rotation)), *map(float, translation)]


def _write_cameras(folder: Path, views: Sequence[View]) -> None:
    binary = struct.pack("<Q", len(views))
    text = "# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n"
    for number, view in enumerate(views, start=1):
        size, camera = view.original_size, _pinhole(view)
        binary += struct.pack("<IiQQ4d", number, PINHOLE, *size, *camera)
        text += f"{number} PINHOLE {size[0]} {size[1]} {' '.join(map(repr, camera))}\n"
    _write_both(folder, "cameras", binary, text)


def _write_images(folder: Path, views: Sequence[View]) -> None:
    binary = struct.pack("<Q", len(views))
    text = "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then an empty line: no 2-D points\n"
    for number, view in enumerate(views, start=1):
        pose = _pose(view)
        binary += struct.pack("<I7dI", number, *pose, number)
        binary += view.name.encode() + b"\0" + struct.pack("<Q", 0)
        text += f"{number} {' '.join(map(repr, pose))} {number} {view.name}\n\n"
    _write_both(folder, "images", binary, text)


def _write_points(folder: Path, cloud: PointCloud, *, chunk: int = 100_000) -> None:
    with (
        atomic.new_file(folder / "points3D.bin") as binary_path,
        atomic.new_file(folder / "points3D.txt") as text_path,
        binary_path.open("wb") as binary,
        text_path.open("w") as text,
    ):
        binary.write(struct.pack("<Q", len(cloud)))
        text.write("# POINT3D_ID X Y Z R G B ERROR\n")
        for start in range(0, len(cloud), chunk):
            part = cloud.take(np.arange(start, min(start + chunk, len(cloud))))
            points = np.empty(len(part), dtype=POINT)
            points["id"] = np.arange(start + 1, start + 1 + len(part))
            points["xyz"], points["rgb"] = part.xyz, part.rgb
            points["error"], points["track"] = -1.0, 0
            binary.write(points.tobytes())
            text.writelines(
                f"{i} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} -1\n"
                for i, (x, y, z), (r, g, b) in zip(points["id"], part.xyz, part.rgb, strict=True)
            )


def _write_both(folder: Path, name: str, binary: bytes, text: str) -> None:
    with atomic.new_file(folder / f"{name}.bin") as partial:
        partial.write_bytes(binary)
    atomic.write_text(folder / f"{name}.txt", text)
