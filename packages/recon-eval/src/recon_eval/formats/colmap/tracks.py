"""Observations in the two orders that a model lists them in: by image, and by point."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from recon_eval.formats.records import Observations, by_number


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Observations sorted by camera, then point, and where each point's are among them.

    - `xy`, `point`: of each observation; those of camera i are `starts[i]` to `starts[i + 1]`.
    - `by_point`: observations sorted by point; those of point j are `point_starts[j]` to the next.
    - `camera`, `place`: of each observation, its camera and its place among that camera's.
    """

    xy: Float[np.ndarray, "o 2"]
    point: Int[np.ndarray, " o"]
    camera: Int[np.ndarray, " o"]
    place: Int[np.ndarray, " o"]
    starts: Int[np.ndarray, " v"]
    by_point: Int[np.ndarray, " o"]
    point_starts: Int[np.ndarray, " p"]


def tracks_of(seen: Observations, *, cameras: int, points: int) -> Tracks:
    """Sort observations. Raises ValueError where one names a camera or point that is not there."""
    for name, index, count in (("camera", seen.camera, cameras), ("point", seen.point, points)):
        if len(index) and not (index.min() >= 0 and index.max() < count):
            raise ValueError(
                f"observations.{name}: is {index.min()} to {index.max()}; there are "
                f"{count}, counted from 0: correct them"
            )
    order = by_number(seen.point, points)
    order = order[by_number(seen.camera[order], cameras)]
    # files count from 1, for which small types have no room
    camera, point = (index[order].astype(np.int64) for index in (seen.camera, seen.point))
    starts = np.concatenate([[0], np.cumsum(np.bincount(camera, minlength=cameras))])
    return Tracks(
        xy=seen.xy[order],
        point=point,
        camera=camera,
        place=np.arange(len(order)) - starts[camera],
        starts=starts,
        by_point=by_number(point, points),
        point_starts=np.concatenate([[0], np.cumsum(np.bincount(point, minlength=points))]),
    )
