"""Where DTU's scanner could see: a voxel mask for predictions, a half-space for the reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64

from recon_eval.dtu.mat import read_mat


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
        values = np.array([self.resolution, *self.low, *self.high, *self.plane])
        if not np.isfinite(values).all() or self.resolution <= 0 or (self.low >= self.high).any():
            raise ValueError(
                f"observation: resolution {self.resolution}, box {self.low} to "
                f"{self.high}, plane {self.plane}; the resolution must be above 0, the box "
                "not empty, and all finite: take the files of the data set"
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
    found = read_mat(mask, ("ObsMask", "BB", "Res"))
    normal = read_mat(plane, ("P",))["P"].ravel()
    grid, box, size = found["ObsMask"], found["BB"], found["Res"]
    if grid.ndim != 3 or box.shape != (2, 3) or size.size != 1 or normal.shape != (4,):
        raise ValueError(
            f"{mask}: ObsMask {grid.shape}, BB {box.shape}, Res {size.shape} and P of "
            f"{plane.name} {normal.shape}; they must have 3 dimensions, 2 x 3, one number "
            "and 4 numbers: take the files of the data set"
        )
    try:
        return Observation(
            mask=grid.astype(bool),
            low=box[0].astype(np.float64),
            high=box[1].astype(np.float64),
            resolution=float(size.ravel()[0]),
            plane=normal.astype(np.float64),
        )
    except ValueError as error:
        raise ValueError(f"{mask} or {plane}: {error}") from None
