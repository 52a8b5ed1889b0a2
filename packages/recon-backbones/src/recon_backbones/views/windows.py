"""More views than fit at once: overlapping windows, joined by what they share.

Each window is predicted in a frame and a unit of its own. A similarity takes it to its
predecessor's: the scale from the depths of the shared views (the median ratio over
confident pixels, which a few wrong cameras do not move), the rotation from the shared
cameras' orientations (their chordal mean, defined for one shared view already), the
translation from their centers. So views on a line or in one place, where an alignment of
centers alone has no rotation or no scale, need no care.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.errors import InputError
from recon_backbones.prediction import Prediction

SCALE_DISAGREEMENT = 1.25  # between shared views: above it a join is called weak


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The map p -> scale * rotation @ p + translation, in float64."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def apply(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """Map points."""
        return self.scale * points.double() @ self.rotation.T + self.translation

    def apply_to_cameras(self, world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
        """Move cameras into the target's world; depths seen by them grow by `scale`."""
        rotation = world_to_camera[:, :, :3].double() @ self.rotation.T
        centers = self.apply(camera_centers(world_to_camera))
        return torch.cat((rotation, -rotation @ centers[..., None]), dim=-1)


def camera_centers(world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3"]:
    """Where cameras stand in the world, in float64."""
    cameras = world_to_camera.double()
    return -(cameras[:, :, :3].mT @ cameras[:, :, 3:])[..., 0]


@dataclass(frozen=True, kw_only=True)
class Join:
    """How one window was brought to its predecessor.

    scale_spread: largest over smallest depth ratio of the shared views, 1 when they agree.
    rotation_degrees: largest disagreement of a shared camera's orientation after joining.
    """

    first_view: int
    similarity: Similarity
    scale_spread: float
    rotation_degrees: float

    @property
    def weak(self) -> bool:
        """Whether the two windows contradict each other where they should agree."""
        return self.scale_spread > SCALE_DISAGREEMENT


@dataclass(frozen=True, kw_only=True)
class Stitched:
    """One scene made of windows: depth and cameras in the frame of the first."""

    prediction: Prediction
    joins: tuple[Join, ...]


def windows(views: int, window: int, overlap: int) -> list[range]:
    """Ranges of at most `window` views that cover all, neighbors sharing at least `overlap`.

    Raises InputError unless 1 <= overlap < window, where more than one is needed.
    """
    if views <= window:
        return [range(views)]
    if not 1 <= overlap < window:
        raise InputError(f"overlap={overlap}; it must be at least 1 and below window={window}")
    starts = [*range(0, views - window, window - overlap), views - window]
    return [range(start, start + window) for start in starts]


def predict_windows(
    predict: Callable[[range], Prediction], parts: Sequence[range], *, given_cameras: bool = False
) -> Stitched:
    """Predict each window of one scene, and join them.

    predict: gives the prediction of some views. With `given_cameras` all windows are in one
    frame already, and their depths are taken to the unit of the first.
    """
    joined = predict(parts[0])
    joins = []
    for part in parts[1:]:
        new = predict(part)
        shared = joined.depth.shape[1] - part.start
        join = _join(_views(joined, part.start, None), _views(new, 0, shared), part.start)
        joins.append(join)
        moved = _rescaled(new, join) if given_cameras else _moved(new, join.similarity)
        cut = shared // 2  # of the shared views each window gives those nearer its middle
        joined = _concatenate(_views(joined, 0, part.start + cut), _views(moved, cut, None))
    return Stitched(prediction=joined, joins=tuple(joins))


def _join(before: Prediction, after: Prediction, first_view: int) -> Join:
    """The similarity from `after` to `before`, two predictions of the same views."""
    ratios = _depth_ratios(before, after)
    scale = float(ratios.median())
    one, other = before.world_to_camera[0].double(), after.world_to_camera[0].double()
    rotation = _mean_rotation(one[:, :, :3].mT @ other[:, :, :3])
    centers = camera_centers(one) - scale * camera_centers(other) @ rotation.T
    similarity = Similarity(
        scale=scale,
        rotation=rotation,
        translation=centers.median(0).values,
    )
    turned = other[:, :, :3] @ rotation.T
    return Join(
        first_view=first_view,
        similarity=similarity,
        scale_spread=float(ratios.max() / ratios.min()),
        rotation_degrees=float(_degrees(one[:, :, :3] @ turned.mT).max()),
    )


def _depth_ratios(before: Prediction, after: Prediction) -> Float[Tensor, " v"]:
    """Median over the more confident half of the pixels of each view."""
    found = []
    for view in range(before.depth.shape[1]):
        one, other = before.depth[0, view].flatten(), after.depth[0, view].flatten()
        sure = torch.minimum(before.depth_conf[0, view], after.depth_conf[0, view]).flatten()
        kept = (sure >= sure.median()) & (one > 0) & (other > 0)
        if not kept.any():
            raise InputError(
                f"shared view {view} has no pixel with a depth in both windows, so they cannot be "
                "joined; give a larger overlap"
            )
        found.append((one[kept].double() / other[kept].double()).median())
    return torch.stack(found)


def _mean_rotation(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, "3 3"]:
    u, _, vt = torch.linalg.svd(rotations.sum(0))
    sign = torch.ones(3, dtype=u.dtype)
    sign[2] = torch.sign(torch.det(u @ vt))
    return u @ torch.diag(sign) @ vt


def _degrees(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, " v"]:
    cosine = (rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def _moved(prediction: Prediction, similarity: Similarity) -> Prediction:
    cameras = similarity.apply_to_cameras(prediction.world_to_camera[0])
    return replace(
        prediction,
        depth=prediction.depth * similarity.scale,
        world_to_camera=cameras.to(prediction.world_to_camera.dtype)[None],
    )


def _rescaled(prediction: Prediction, join: Join) -> Prediction:
    """Depths in the unit of the window before; those in metres are so already."""
    if prediction.metric:
        return prediction
    return replace(prediction, depth=prediction.depth * join.similarity.scale)


def _views(prediction: Prediction, start: int, end: int | None) -> Prediction:
    """Some views; of what a network may add, the sky alone is carried on."""
    sky = prediction.sky
    return Prediction(
        depth=prediction.depth[:, start:end],
        depth_conf=prediction.depth_conf[:, start:end],
        world_to_camera=prediction.world_to_camera[:, start:end],
        intrinsics=prediction.intrinsics[:, start:end],
        sky=None if sky is None else sky[:, start:end],
        metric=prediction.metric,
    )


def _concatenate(one: Prediction, other: Prediction) -> Prediction:
    def both(name: str) -> Tensor:
        return torch.cat((getattr(one, name), getattr(other, name)), dim=1)

    return Prediction(
        depth=both("depth"),
        depth_conf=both("depth_conf"),
        world_to_camera=both("world_to_camera"),
        intrinsics=both("intrinsics"),
        sky=None if one.sky is None else both("sky"),
        metric=one.metric,
    )
