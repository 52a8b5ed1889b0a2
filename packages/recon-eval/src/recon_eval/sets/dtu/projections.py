"""Cameras stored as products K [R | t]: by IDR and NeuS, and in DTU's own calibration."""

from pathlib import Path

import numpy as np

from recon_eval.formats.arrays import read_npz
from recon_eval.formats.files import numbers, read_text
from recon_eval.formats.records import Camera, check_camera


def read_idr_cameras(path: Path) -> dict[int, Camera]:
    """Read `cameras.npz` (IDR) or `cameras_sphere.npz` (NeuS): world_mat_i = K [R | t].

    Lengths are those of the world, millimeters for DTU: `scale_mat_i`, which maps the unit sphere
    to the object, is not applied.
    """
    matrices = {
        int(number): values.astype(np.float64)
        for name, values in read_npz(path).items()
        if name.startswith("world_mat_") and (number := name[10:]).isdecimal()
    }
    if not matrices or any(not _is_invertible(matrix) for matrix in matrices.values()):
        raise ValueError(
            f"{path}: lacks matrices; it must hold world_mat_0, world_mat_1, ... of 4 x 4 "
            "finite numbers: copy it again"
        )
    return {number: _decompose(matrix, path) for number, matrix in matrices.items()}


def read_projection(path: Path) -> Camera:
    """Read twelve numbers, the 3 x 4 matrix K [R | t] of DTU's `Calibration/cal18/pos_001.txt`."""
    values = np.array(numbers(read_text(path).split(), path, "the projection"))
    if values.size != 12 or not _is_invertible(np.vstack([values.reshape(3, 4), [0, 0, 0, 1]])):
        raise ValueError(
            f"{path}: {values.size} numbers; a projection is 12 of full rank: copy it again"
        )
    return _decompose(values.reshape(3, 4), path)


def _is_invertible(matrix: np.ndarray) -> bool:
    return matrix.shape == (4, 4) and bool(
        np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix[:3, :3]) == 3
    )


def _decompose(matrix: np.ndarray, path: Path) -> Camera:
    """Split K [R | t] by an RQ decomposition with a positive diagonal."""
    flip = np.eye(3)[::-1]
    orthogonal, upper = np.linalg.qr((flip @ matrix[:3, :3]).T)
    intrinsics, rotation = flip @ upper.T @ flip, flip @ orthogonal.T
    signs = np.diag(np.sign(np.diag(intrinsics)))
    intrinsics, rotation = intrinsics @ signs, signs @ rotation
    if np.linalg.det(rotation) < 0:  # the matrix is defined up to its sign
        rotation, matrix = -rotation, -matrix
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = rotation
    extrinsic[:3, 3] = np.linalg.solve(intrinsics, matrix[:3, 3])
    intrinsics = intrinsics / intrinsics[2, 2]
    check_camera(extrinsic, intrinsics, str(path))
    intrinsics[:2, 2] += 0.5  # the file puts pixel centers at whole numbers
    return Camera(name=path.stem, world_to_camera=extrinsic[:3], intrinsics=intrinsics)
