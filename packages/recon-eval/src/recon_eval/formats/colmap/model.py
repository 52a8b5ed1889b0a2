"""What a COLMAP model says: its numbers of camera models, its lenses, its poses.

Source: colmap.github.io/format.html. Rotations are world to camera, quaternions scalar first, pixel
centers at + 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from recon_eval.formats.records import Camera, Observations, PointCloud, check_straight

Lens = tuple[tuple[int, int], Float64[np.ndarray, "3 3"]]
Pixels = np.ndarray  # of the type PIXEL
PIXEL = np.dtype([("xy", "<f8", 2), ("point", "<i8")])  # of an image; point -1: of none
UNDISTORT = "undistort the images first (colmap image_undistorter)"

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
PROJECTIVE = {name: (count, focals) for name, count, focals in MODELS if name != "OPENCV_FISHEYE"}


class Damaged(Exception):
    """What is wrong with a model; the public readers add which file."""


@dataclass(frozen=True, kw_only=True)
class ColmapModel:
    """Cameras in the order of the file, points, and which camera sees which point."""

    cameras: tuple[Camera, ...]
    cloud: PointCloud
    observations: Observations


def lens_of(model: str, size: tuple[int, int], parameters: Sequence[float]) -> Lens:
    """Return size and intrinsics. Raises Damaged for a model that bends lines, or is unknown."""
    if model not in PROJECTIVE:
        known = ", ".join(PROJECTIVE)
        raise Damaged(f"a camera is {model[:40]!r}; known are {known}: {UNDISTORT}")
    count, focals = PROJECTIVE[model]
    if len(parameters) != count or min(size) < 1:
        raise Damaged(
            f"a {model} camera of {size[0]} x {size[1]} pixels has {len(parameters)} "
            f"parameters; it must have {count}, and sides of at least 1: copy the model "
            "again"
        )
    if any(parameters[focals + 2 :]):
        raise Damaged(
            f"a {model} camera is distorted ({parameters[focals + 2 :]}); pinhole cameras "
            f"are read: {UNDISTORT}"
        )
    fx, fy = parameters[0], parameters[focals - 1]
    cx, cy = parameters[focals : focals + 2]
    return size, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def lens_named(number: int, lenses: dict[int, Lens]) -> Lens:
    """Return the lens that an image names. Raises Damaged where there is none."""
    if number not in lenses:
        raise Damaged(f"an image names camera {number}; it is not there: copy the model again")
    return lenses[number]


def camera_of(name: str, pose: Sequence[float], lens: Lens) -> Camera:
    """Return the camera of an image: quaternion and translation, and the lens it names."""
    if not all(abs(value) < 1e30 for value in pose):
        raise Damaged(f"the pose of {name[:60]!r} is not finite; it must be: copy the model again")
    quaternion = np.array(pose[:4])
    norm = float(np.linalg.norm(quaternion))
    if not abs(norm - 1) < 1e-3:
        raise Damaged(
            f"the quaternion of {name[:60]!r} has the norm {norm:.3g}; it must be 1: copy the "
            "model again"
        )
    rotation = rotation_of(quaternion / norm)
    extrinsic = np.concatenate([rotation, np.array(pose[4:])[:, None]], axis=1)
    try:
        return Camera(name=name, world_to_camera=extrinsic, intrinsics=lens[1], size=lens[0])
    except ValueError as error:
        raise Damaged(str(error)) from None


def pinhole_of(camera: Camera) -> tuple[tuple[int, int], list[float]]:
    """Return size and the four PINHOLE parameters. Raises ValueError without a size; for a skew."""
    if camera.size is None:
        raise ValueError(
            f"{camera.name}: size=None; a COLMAP model needs the width and height: give the "
            "size of the photo"
        )
    check_straight(camera, "a PINHOLE camera of COLMAP")
    lens = camera.intrinsics
    return camera.size, [float(lens[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]


def lenses_of(
    cameras: Sequence[Camera],
) -> tuple[list[tuple[tuple[int, int], list[float]]], list[int]]:
    """Return each lens once, as `pinhole_of` gives it, and the number of each camera's, from 1.

    Images whose cameras are equal to the last bit are by one camera, and are written as such: what
    refines a model then refines one lens. Raises ValueError without a size.
    """
    numbers: dict[tuple[tuple[int, int], tuple[float, ...]], int] = {}
    owned = []
    for camera in cameras:
        size, parameters = pinhole_of(camera)
        owned.append(numbers.setdefault((size, tuple(parameters)), len(numbers) + 1))
    return [(size, list(parameters)) for size, parameters in numbers], owned


def pose_of(camera: Camera) -> list[float]:
    """Return quaternion and translation of world to camera; the center is that of `camera`."""
    quaternion = quaternion_wxyz(camera.world_to_camera[:, :3])
    translation = -rotation_of(quaternion) @ camera.camera_to_world[:3, 3]
    return [*map(float, quaternion), *map(float, translation)]


def rotation_of(wxyz: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation of a unit quaternion, scalar first."""
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_wxyz(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Return the unit quaternion of a rotation, scalar first and not negative.

    It is the eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000, "New method for
    extracting the quaternion from a rotation matrix"), so a matrix that is only nearly a rotation
    gives the nearest one.
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
