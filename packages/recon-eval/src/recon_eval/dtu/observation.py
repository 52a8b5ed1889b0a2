"""Where DTU's scanner could see: a voxel mask for predictions, a half-space for the reference."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.io import loadmat, whosmat  # type: ignore[import-untyped]
from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

MAX_BYTES = 1 << 30
MAX_ELEMENTS = 1 << 30
# what SciPy's reader raises on damaged files
_BROKEN = (
    ValueError,
    TypeError,
    OSError,
    NotImplementedError,
    LookupError,
    AttributeError,
    NameError,
    ArithmeticError,
    MemoryError,
    MatReadError,
    zlib.error,
)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """`mask[i, j, k]` is true where voxel `low + resolution * (i, j, k)` was observed (mm).

    `plane` (a, b, c, d) keeps reference points with a x + b y + c z + d > 0: those above the table.
    """

    mask: Bool[np.ndarray, "i j k"]
    low: Float64[np.ndarray, "3"]
    high: Float64[np.ndarray, "3"]
    resolution: float
    plane: Float64[np.ndarray, "4"]

    def __post_init__(self) -> None:
        if not self.resolution > 0 or not (self.low < self.high).all():
            raise ValueError(
                f"observation: resolution {self.resolution} must be above 0 and the box "
                f"{self.low} to {self.high} must not be empty"
            )

    def observed(
        self, points: Float[np.ndarray, "p 3"], *, halves: str = "up"
    ) -> Bool[np.ndarray, " p"]:
        """Return which points lie in observed voxels.

        The nearest voxel is taken; `halves` says what happens half-way: "up" (away from zero for
        the positions in the grid, as MATLAB's round) or "even" (as NumPy's).
        """
        position = (points - self.low) / self.resolution
        rounded = np.rint(position) if halves == "even" else np.floor(position + 0.5)
        shape = np.array(self.mask.shape)
        inside = ((rounded >= 0) & (rounded < shape)).all(axis=1)
        cells = rounded[inside].astype(np.int64)
        result = np.zeros(len(points), dtype=bool)
        result[inside] = self.mask[cells[:, 0], cells[:, 1], cells[:, 2]]
        return result

    def above_plane(self, points: Float[np.ndarray, "p 3"]) -> Bool[np.ndarray, " p"]:
        """Return which points lie above the plane of the table."""
        return points @ self.plane[:3] + self.plane[3] > 0


def read_observation(mask: Path, plane: Path) -> Observation:
    """Read `ObsMask{scan}_10.mat` (ObsMask, BB, Res) and `Plane{scan}.mat` (P)."""
    found = _read_mat(mask, ("ObsMask", "BB", "Res"))
    normal = _numbers(plane, _read_mat(plane, ("P",)), "P").ravel()
    box, size = _numbers(mask, found, "BB"), _numbers(mask, found, "Res")
    grid = np.asarray(found["ObsMask"])
    if (
        grid.ndim != 3
        or grid.dtype.kind not in "fiub"
        or box.shape != (2, 3)
        or size.size != 1
        or normal.shape != (4,)
    ):
        raise ValueError(
            f"{mask}: ObsMask {grid.shape} must have 3 dimensions, BB {box.shape} be 2 x 3, Res "
            f"{size.shape} one number, and P of {plane.name} {normal.shape} 4 numbers"
        )
    try:
        return Observation(
            mask=grid.astype(bool),
            low=box[0],
            high=box[1],
            resolution=float(size.ravel()[0]),
            plane=normal,
        )
    except ValueError as error:
        raise ValueError(f"{mask}: {error}") from None


def _numbers(path: Path, found: dict[str, Any], name: str) -> Float64[np.ndarray, "..."]:
    values = np.asarray(found[name])
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ValueError(f"{path}: {name} must hold finite numbers")
    return values.astype(np.float64)


def _read_mat(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist; it comes with DTU's SampleSet archive")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        shapes = [shape for name, shape, _ in whosmat(path) if name in names]
        if any(math.prod(shape) > MAX_ELEMENTS for shape in shapes):
            raise ValueError(f"arrays of {shapes} have more than {MAX_ELEMENTS} elements")
        found: dict[str, Any] = loadmat(path, variable_names=list(names))
    except _BROKEN as error:
        raise ValueError(f"{path}: is no MATLAB file of version 5 to 7.2: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path}: has no variable {', '.join(missing)}")
    return found
