"""More views than fit at once: overlapping windows, joined by what they share.

Each window is predicted in a frame and a unit of its own; `chain.join` takes it to its
predecessor's, and where the sequence comes back to a place, all are moved so that both ends meet
(`chain.close`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.chain.close import Chain, Loop, close_loops
from recon_backbones.chain.join import Join, join, views_of
from recon_backbones.errors import InputError
from recon_backbones.geometry.similarity import SimilarityMap
from recon_backbones.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class Stitched:
    """One scene made of windows: depth and cameras in the frame of the first."""

    prediction: Prediction
    joins: tuple[Join, ...]
    loops: tuple[Loop, ...] = ()


def windows(views: int, window: int, overlap: int) -> list[range]:
    """Ranges of at most `window` views that cover all, neighbors sharing at least `overlap`.

    Raises InputError unless 1 <= overlap < window, where more than one is needed.
    """
    if views <= window:
        return [range(views)]
    if not 1 <= overlap < window:
        raise InputError(
            f"overlap={overlap}; it must be at least 1 and below window={window}: a quarter of "
            "it is usual"
        )
    starts = [*range(0, views - window, window - overlap), views - window]
    return [range(start, start + window) for start in starts]


def predict_windows(
    predict: Callable[[Sequence[int]], Prediction],
    parts: Sequence[range],
    *,
    given_cameras: bool = False,
    images: Float[Tensor, "v 3 y x"] | None = None,
) -> Stitched:
    """Predict each window of one scene, and join them.

    - `predict`: gives the prediction of some views.
    - `given_cameras`: all windows are in one frame already, and their depths are taken to the unit
      of the first.
    - `images`: of all views; with them, places that the sequence comes back to are looked for and
      its windows moved so that they meet there.
    """
    seen = [predict(part) for part in parts]
    if len(parts) == 1:
        return Stitched(prediction=seen[0], joins=())
    joins, places = [], [SimilarityMap.identity()]
    for k, (before, part) in enumerate(pairwise(parts)):
        shared = before.stop - part.start
        one = views_of(seen[k], part.start - before.start, None)
        joins.append(join(one, views_of(seen[k + 1], 0, shared), part.start))
        places.append(places[-1] @ joins[-1].similarity)
    loops: tuple[Loop, ...] = ()
    if images is not None and not given_cameras and len(parts) > 2:
        chain = Chain(parts=tuple(parts), seen=tuple(seen), places=tuple(places))
        places, loops = close_loops(chain, images, predict)
    begins = [0, *((part.start + before.stop) // 2 for before, part in pairwise(parts))]
    ends = [*begins[1:], parts[-1].stop]  # each gives views nearer its middle
    move = _rescaled if given_cameras else _moved
    pieces = [
        views_of(new, begin - part.start, end - part.start)
        for new, part, begin, end in zip(seen, parts, begins, ends, strict=True)
    ]
    moved = (move(piece, place) for piece, place in zip(pieces[1:], places[1:], strict=True))
    return Stitched(prediction=_concatenate([pieces[0], *moved]), joins=tuple(joins), loops=loops)


def _moved(prediction: Prediction, similarity: SimilarityMap) -> Prediction:
    cameras = similarity.apply_to_cameras(prediction.world_to_camera[0])
    return replace(
        prediction,
        depth=prediction.depth * similarity.scale,
        world_to_camera=cameras.to(prediction.world_to_camera.dtype)[None],
    )


def _rescaled(prediction: Prediction, place: SimilarityMap) -> Prediction:
    """Depths in the unit of the first window; those in meters are so already."""
    if prediction.metric:
        return prediction
    return replace(prediction, depth=prediction.depth * place.scale)


def _concatenate(parts: Sequence[Prediction]) -> Prediction:
    def whole(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], dim=1)

    first = parts[0]
    return Prediction(
        depth=whole("depth"),
        depth_conf=whole("depth_conf"),
        world_to_camera=whole("world_to_camera"),
        intrinsics=whole("intrinsics"),
        sky=None if first.sky is None else whole("sky"),
        metric=first.metric,
    )
