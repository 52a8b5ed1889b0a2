"""Nearest neighbors in a cloud, by SciPy's KD-tree: exact, threaded, bounded in memory."""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.spatial import cKDTree  # type: ignore[import-untyped]

CHUNK = 1 << 18  # queries at once: their results take 4 MB


class Neighbors:
    """A cloud that answers which of its points are near a query.

    Queries that lie close together in space and in order are answered about twice as fast as
    shuffled ones. `workers` is the number of threads, -1 for all cores.
    """

    def __init__(self, points: Float[np.ndarray, "p 3"], *, workers: int = -1) -> None:
        check_cloud(points, "points")
        self.tree = cKDTree(np.ascontiguousarray(points, dtype=np.float64))
        self.workers = workers

    def nearest(
        self, queries: Float[np.ndarray, "q 3"], *, limit: float = np.inf
    ) -> tuple[Float64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
        """Return distance and index of the nearest point of each query.

        Where none is closer than `limit` the distance is infinite and the index that of no point
        (the number of points).
        """
        distances = np.empty(len(queries))
        indices = np.empty(len(queries), dtype=np.int64)
        for start in range(0, len(queries), CHUNK):
            part = slice(start, start + CHUNK)
            distances[part], indices[part] = self.tree.query(
                queries[part], distance_upper_bound=limit, workers=self.workers
            )
        return distances, indices


def check_cloud(points: Float[np.ndarray, "p 3"], name: str) -> None:
    """Raise ValueError where a cloud is empty or holds NaN or infinity."""
    if not len(points):
        raise ValueError(
            f"{name}: the cloud is empty; there is no distance to measure: give at least one point"
        )
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        raise ValueError(
            f"{name}: {bad} of {len(points)} points are not finite; all must be: remove them"
        )
