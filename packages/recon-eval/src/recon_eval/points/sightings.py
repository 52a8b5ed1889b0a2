"""Which views see which points, by their depth maps: what tracks of a COLMAP model are made of."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from recon_eval.formats.records import Camera, Observations

MOST = 4
TOLERANCE = 0.05
PIECE = 1 << 18  # points at once


def find_sightings(
    points: Float[np.ndarray, "p 3"],
    cameras: Sequence[Camera],
    depths: Float[np.ndarray, "v y x"] | Sequence[Float[np.ndarray, "_ _"]],
    *,
    most: int = MOST,
    tolerance: float = TOLERANCE,
) -> Int32[np.ndarray, "p k"]:
    """Return the views that see each point, in ascending order, padded with -1.

    A view sees a point that lands in it in front of its camera, where its depth map (0 or not
    finite: unknown) says the same depth within the relative `tolerance`. Of more than `most` views
    those are taken that agree best, so the view that a point was made from is always among them.

    - `cameras`: in pixels of the depth maps; world points and depths in one unit.
    - `depths`: one map a camera, of any size each.

    Raises ValueError where cameras and depth maps differ in number, or an option makes no sense.
    """
    if len(cameras) != len(depths):
        raise ValueError(
            f"cameras: {len(cameras)} given, and {len(depths)} depths; each view has one "
            "of both: give as many"
        )
    if most < 1 or not tolerance > 0:
        raise ValueError(
            f"most={most}, tolerance={tolerance}; they must be at least 1, and above 0: "
            "leave them out for the usual ones"
        )
    found = np.full((len(points), most), -1, np.int32)
    for start in range(0, len(points), PIECE):
        part = slice(start, start + PIECE)
        found[part] = _of_piece(points[part], cameras, depths, most, tolerance)
    return found


def observe(
    points: Float[np.ndarray, "p 3"],
    sightings: Int[np.ndarray, "p k"],
    cameras: Sequence[Camera],
) -> Observations:
    """Return the pixel of each sighting, by projecting each point into the cameras that see it.

    - `sightings`: positions of cameras, -1 for none, as `find_sightings` returns them.
    - `cameras`: in the pixels that are wanted, which may be those of larger photos.
    """
    point, _ = np.nonzero(sightings >= 0)
    camera = sightings[sightings >= 0].astype(np.int64)
    xy = np.empty((len(point), 2))
    for number, one in enumerate(cameras):
        mine = camera == number
        xy[mine] = one.project(points[point[mine]])[0]
    return Observations(camera=camera, point=point, xy=xy)


def _of_piece(
    points: np.ndarray,
    cameras: Sequence[Camera],
    depths: np.ndarray | Sequence[np.ndarray],
    most: int,
    tolerance: float,
) -> Int32[np.ndarray, "p k"]:
    """Keep, for each point, the views of the smallest gaps while views pass by."""
    views = np.full((len(points), most), -1, np.int32)
    gaps = np.full((len(points), most), np.inf, np.float32)
    every = np.arange(len(points))
    for number, (camera, depth) in enumerate(zip(cameras, depths, strict=True)):
        gap = _gap(points, camera, depth)
        worst = gaps.argmax(axis=1)
        better = (gap <= tolerance) & (gap < gaps[every, worst])
        rows, columns = every[better], worst[better]
        views[rows, columns], gaps[rows, columns] = number, gap[better]
    views = np.sort(views.astype(np.uint32), axis=1)  # -1 becomes the largest, and comes last
    return views.astype(np.int32)


def _gap(points: np.ndarray, camera: Camera, depth: np.ndarray) -> Float32[np.ndarray, " p"]:
    """The relative difference of each point's depth to the map's; infinite where it is unseen."""
    height, width = depth.shape
    landed, ahead = camera.project(points)
    inside = (ahead > 0) & ((landed >= 0) & (landed < (width, height))).all(axis=1)
    column, row = landed[inside].astype(np.int64).T
    there = depth[row, column].astype(np.float64)
    known = np.isfinite(there) & (there > 0)
    gap = np.full(len(points), np.inf, np.float32)
    gap[inside] = np.abs(ahead[inside] / np.where(known, there, np.nan) - 1)
    return np.where(np.isnan(gap), np.float32(np.inf), gap)
