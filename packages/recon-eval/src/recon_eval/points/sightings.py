"""Which views see which points, by their depth maps: what tracks of a COLMAP model are made of."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32

from recon_eval.formats.records import Camera, Observations, by_number

MOST = 4
TOLERANCE = 0.05
PIECE = 1 << 16  # points at once: what is made of them on the way stays in a core's cache


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

    def work(start: int) -> None:
        piece = np.ascontiguousarray(points[start : start + PIECE].T, np.float64)
        found[start : start + PIECE] = _of_piece(piece, cameras, depths, most, tolerance)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy holds no lock while it computes
        list(pool.map(work, range(0, len(points), PIECE)))
    return found


def observe(
    points: Float[np.ndarray, "p 3"],
    sightings: Int[np.ndarray, "_ k"],
    cameras: Sequence[Camera],
) -> Observations:
    """Return the pixel of each sighting, by projecting each point into the cameras that see it.

    - `sightings`: positions of cameras, -1 for none, as `find_sightings` returns them.
    - `cameras`: in the pixels that are wanted, which may be those of larger photos.

    Raises ValueError where sightings are not of these points and cameras.
    """
    last = int(sightings.max(initial=-1))
    if len(sightings) != len(points) or last >= len(cameras):
        raise ValueError(
            f"sightings: {len(sightings)} rows of cameras up to {last}; points are {len(points)} "
            f"and cameras {len(cameras)}, counted from 0: give those that were looked at"
        )
    point, _ = np.nonzero(sightings >= 0)
    camera = sightings[sightings >= 0].astype(np.int64)
    xy = np.empty((len(point), 2))
    order = by_number(camera, len(cameras))
    ends = np.cumsum(np.bincount(camera, minlength=len(cameras)))
    for one, mine in zip(cameras, np.split(order, ends), strict=False):
        xy[mine] = one.project(points[point[mine]])[0]
    return Observations(camera=camera, point=point, xy=xy)


def _of_piece(
    points: Float64[np.ndarray, "3 p"],
    cameras: Sequence[Camera],
    depths: Float[np.ndarray, "v y x"] | Sequence[Float[np.ndarray, "_ _"]],
    most: int,
    tolerance: float,
) -> Int32[np.ndarray, "p k"]:
    """Keep, for each point, the views of the smallest gaps while views pass by."""
    views = np.full((most, points.shape[1]), -1, np.int32)
    gaps = np.full((most, points.shape[1]), np.inf, np.float32)
    largest = gaps[0].copy()  # of those that are kept
    for number, (camera, depth) in enumerate(zip(cameras, depths, strict=True)):
        seen, gap = _near(points, camera, depth, tolerance)
        better = gap < largest[seen]
        seen, gap = seen[better], gap[better]
        held = gaps[:, seen]
        worst = held.argmax(axis=0)
        views[worst, seen], gaps[worst, seen] = number, gap
        held[worst, np.arange(len(seen))] = gap
        largest[seen] = held.max(axis=0)
    views = np.sort(views.astype(np.uint32), axis=0)  # -1 becomes the largest, and comes last
    return views.astype(np.int32).T


def _near(
    points: Float64[np.ndarray, "3 p"],
    camera: Camera,
    depth: Float[np.ndarray, "y x"],
    tolerance: float,
) -> tuple[Int[np.ndarray, " s"], Float32[np.ndarray, " s"]]:
    """Which points a view sees, and how far off its map each is, relative to the map's depth."""
    height, width = depth.shape
    pose = camera.intrinsics @ camera.world_to_camera
    across, down, ahead = pose[:, :3] @ points + pose[:, 3:]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = across / ahead, down / ahead
    inside = np.flatnonzero((ahead > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height))
    there = depth[y[inside].astype(np.int64), x[inside].astype(np.int64)]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.abs(ahead[inside] / there - 1).astype(np.float32)
    near = (gap <= tolerance) & (there > 0) & (there < np.inf)
    return inside[near], gap[near]
