"""From depth maps to one point cloud: what is kept, and how it is thinned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from recon_eval.formats.records import PointCloud
from recon_eval.reconstruction.view import View

FINE = 0.05  # steps of float32 that matter, in widths of a pixel
UNUSED = 1e-3  # of the cap, at most
NEAR = 2e-4  # logarithms of voxels that are as good as equal
CORE = (1, 99)  # percentiles between which a scene lies: what is beyond may be far off
SAMPLE = 100_000  # points that tell these
CELLS = 1 << 21  # voxels along an axis: three numbers of one share 63 bits


@dataclass(frozen=True, kw_only=True)
class PointOptions:
    """Which pixels become points."""

    confidence_percentile: float = 20.0
    """Drop this share (percent, 0 to 100) of the pixels: those of least confidence."""
    edge_tolerance: float = 0.1
    """Drop a pixel whose depth differs from a neighbor's by more than this fraction."""
    max_points: int = 1_000_000
    """Thin to at most this many points: one per voxel, the most confident."""

    def __post_init__(self) -> None:
        if not 0 <= self.confidence_percentile < 100:
            raise ValueError(
                f"confidence_percentile={self.confidence_percentile}; it must be at least "
                "0 and less than 100: 0 keeps every pixel"
            )
        if not self.edge_tolerance > 0:
            raise ValueError(
                f"edge_tolerance={self.edge_tolerance}; it must be positive: infinity keeps "
                "every edge"
            )
        if self.max_points < 1:
            raise ValueError(
                f"max_points={self.max_points}; it must be at least 1: a million is usual"
            )


def gather_points(views: Sequence[View], options: PointOptions) -> PointCloud:
    """Unproject every view; points in memory stay below three times `max_points` and a view's.

    They are float32, or float64 where cameras stand so far from the origin that it takes that.
    Beside them a percentile above 0 takes one number a pixel of all views while it is found.
    Raises ValueError where no pixel has a finite confidence.
    """
    threshold = _threshold(views, options.confidence_percentile)
    kind = _kind(views)
    cloud: list[PointCloud] = []
    side = None
    for view in views:
        cloud.append(points_of(view, threshold=threshold, options=options, kind=kind))
        if sum(map(len, cloud)) > 2 * options.max_points:
            whole, side = _thinned(PointCloud.concatenate(cloud), options.max_points, side)
            cloud = [whole]
    return thin(PointCloud.concatenate(cloud), options.max_points)


def _threshold(views: Sequence[View], percentile: float) -> float:
    """The least confidence of a point."""
    finite = (view.confidence[np.isfinite(view.confidence)] for view in views)
    if not percentile:  # the least of each view will do, and need not be kept beside the others
        finite = (values.min(keepdims=True) for values in finite if len(values))
    confident = np.concatenate([np.zeros(0, np.float32), *finite])
    if not len(confident):
        raise ValueError(
            "no pixel has a finite confidence; no point can be made: give views that have"
        )
    return float(np.percentile(confident, percentile))


def _kind(views: Sequence[View]) -> type[np.floating]:
    """float32, unless its steps where the cameras stand are no small part of a pixel's width."""
    far = max(float(np.abs(view.camera_to_world[:3, 3]).max()) for view in views)
    widths = [np.median(v.depth[v.known]) / v.intrinsics[0, 0] for v in views if v.known.any()]
    coarse = bool(widths) and np.spacing(np.float32(far)) > FINE * float(np.median(widths))
    return np.float64 if coarse else np.float32


def points_of(
    view: View, *, threshold: float, options: PointOptions, kind: type[np.floating] = np.float32
) -> PointCloud:
    """The points of one view: confident, in front of the camera, not across a depth edge."""
    kept = view.known & (view.confidence >= threshold)
    kept &= ~depth_edges(view.depth, options.edge_tolerance)
    return PointCloud(
        points=unproject(view)[kept].astype(kind),
        colors=view.image[kept],
        confidence=view.confidence[kept].astype(np.float32),
    )


def unproject(view: View) -> Float[np.ndarray, "y x 3"]:
    """World coordinates of pixel centers: c + R^T z K^-1 (x, y, 1), from the camera's center on."""
    height, width = view.depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(view.intrinsics).T
    center = view.camera_to_world[:3, 3]
    turned = (rays * view.depth[..., None]) @ view.world_to_camera[:, :3]
    points: Float[np.ndarray, "y x 3"] = turned + center
    return points


def depth_edges(depth: Float[np.ndarray, "y x"], tolerance: float) -> Bool[np.ndarray, "y x"]:
    """True where a pixel or its right or lower neighbor jumps by more than `tolerance`."""
    edges = np.zeros(depth.shape, dtype=bool)
    for axis in (0, 1):
        first = np.take(depth, range(depth.shape[axis] - 1), axis)
        second = np.take(depth, range(1, depth.shape[axis]), axis)
        jump = np.abs(first - second) > tolerance * np.minimum(first, second)
        before = [(0, 0), (0, 0)]
        before[axis] = (0, 1)
        after = [(0, 0), (0, 0)]
        after[axis] = (1, 0)
        edges |= np.pad(jump, before) | np.pad(jump, after)
    return edges


def thin(cloud: PointCloud, max_points: int) -> PointCloud:
    """Keep the most confident point of each voxel, with a voxel that comes near the cap.

    Of points without confidence, the first. The voxel leaves at most a thousandth of the cap
    unused, or it is within 0.03 % of the smallest that fits; none is smaller than a millionth of
    the extent of the middle 98 % of points along an axis, so that some far off change nothing.
    """
    return cloud if len(cloud) <= max_points else _thinned(cloud, max_points)[0]


def _thinned(
    cloud: PointCloud, max_points: int, side: float | None = None
) -> tuple[PointCloud, float]:
    """The same, and the side of the voxels.

    - `side`: taken as it is where it leaves no more than a quarter above the cap.
    """
    if cloud.confidence is not None:
        cloud = cloud.take(np.argsort(-cloud.confidence, kind="stable"))
    low = cloud.points.min(axis=0)[:, None]
    places = np.subtract(cloud.points.T, low, dtype=np.float64, order="C")
    first = None if side is None else _firsts(places, side)
    if side is None or first is None or len(first) > 1.25 * max_points:
        side, first = _fitting(places, max_points)
    return cloud.take(np.sort(first)), side


def _fitting(
    places: Float[np.ndarray, "3 p"], max_points: int
) -> tuple[float, Int[np.ndarray, " kept"]]:
    """The side of voxels of which nearly `max_points` hold a place, not more; and `_firsts` of it.

    Between a millionth of the extent of most places and the extent of all, along straight lines
    through both ends; an end that stays twice pulls half as much (the Illinois rule). Lines are
    those of logarithms: of the side, and of how many places a voxel holds.
    """
    extent, count = float(places.max()) or 1.0, places.shape[1]
    ends = np.percentile(places[:, :: -(-count // SAMPLE)], CORE, axis=1)
    core = float((ends[1] - ends[0]).max()) or extent
    goal = _crowded(max_points, count)
    small, below = np.log(core * 1e-6), _crowded(count, count) - goal
    large, above = np.log(extent * 1.001), _crowded(1, count) - goal
    first, stayed = np.zeros(1, np.int64), 0  # the largest voxel holds all
    while large - small > NEAR and len(first) < (1 - UNUSED) * max_points:
        middle = large - (large - small) * np.clip(above / (above - below), 0.02, 0.98)
        found = _firsts(places, float(np.exp(middle)))
        beyond = _crowded(len(found), count) - goal
        if len(found) <= max_points:
            large, first, above = middle, found, beyond
            below, stayed = below / (1 + (stayed > 0)), 1
        else:
            small, below = middle, beyond
            above, stayed = above / (1 + (stayed < 0)), -1
    return float(np.exp(large)), first


def _crowded(voxels: int, places: int) -> float:
    """The logarithm of how many places fall on a voxel, empty ones too, where so many are not."""
    filled = min(voxels / places, 1 - 0.5 / places)
    return float(np.log((1 - filled) * (1 + filled) / filled))


def _cells(distances: Float[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    """Which voxel along an axis; where numbers do not reach, those far from the middle are one."""
    if distances.max() >= CELLS:
        distances = (distances - np.median(distances) + CELLS / 2).clip(0, CELLS - 1)
    return distances.astype(np.int64)


def _firsts(places: Float[np.ndarray, "3 p"], side: float) -> Int[np.ndarray, " kept"]:
    """The first place, none of which is negative, in each voxel; PyTorch sorts on all cores."""
    x, y, z = (_cells(axis / side) for axis in places)
    ordered, at = torch.from_numpy(x << 42 | y << 21 | z).sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    first: Int[np.ndarray, " kept"] = at[begins].numpy()
    return first
