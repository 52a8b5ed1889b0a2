"""Two predictions that share views, each in a frame and a unit of its own, brought together.

The scale comes from the depths of the shared views (the median ratio over confident pixels, which a
few wrong cameras do not move), the rotation from the shared cameras' orientations (their chordal
mean, defined for one shared view already), the translation from their centers. So views on a line
or in one place, where an alignment of centers alone has no rotation or no scale, need no care. Of
an even number of views the median lies between the two in the middle, for scales in logarithms:
the lower of them, taken at every join, would shrink a long chain.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.errors import InputError
from recon_backbones.geometry.similarity import SimilarityMap, camera_centers
from recon_backbones.prediction import Prediction

SCALE_DISAGREEMENT = 1.25  # between shared views: above it a join is called weak


@dataclass(frozen=True, kw_only=True)
class Join:
    """How one window was brought to its predecessor.

    - `scale_spread`: largest over smallest depth ratio of the shared views, 1 when they agree.
    - `rotation_degrees`: largest disagreement of a shared camera's orientation after joining.
    """

    first_view: int
    similarity: SimilarityMap
    scale_spread: float
    rotation_degrees: float

    @property
    def weak(self) -> bool:
        """Whether the two windows contradict each other where they should agree."""
        return self.scale_spread > SCALE_DISAGREEMENT


def join(before: Prediction, after: Prediction, first_view: int) -> Join:
    """The similarity from `after` to `before`, two predictions of the same views.

    Raises InputError where a shared view has no pixel with a depth in both.
    """
    ratios = _depth_ratios(before, after)
    scale = float(ratios.log().quantile(0.5).exp())
    one, other = before.world_to_camera[0].double(), after.world_to_camera[0].double()
    rotation = _mean_rotation(one[:, :, :3].mT @ other[:, :, :3])
    centers = camera_centers(one) - scale * camera_centers(other) @ rotation.T
    similarity = SimilarityMap(
        scale=scale,
        rotation=rotation,
        translation=centers.quantile(0.5, dim=0),
    )
    turned = other[:, :, :3] @ rotation.T
    return Join(
        first_view=first_view,
        similarity=similarity,
        scale_spread=float(ratios.max() / ratios.min()),
        rotation_degrees=float(_degrees(one[:, :, :3] @ turned.mT).max()),
    )


def _depth_ratios(before: Prediction, after: Prediction) -> Float[Tensor, " v"]:
    """Median over the more confident half of the pixels of each view, sky left out.

    A network that sees sky puts it at the far depth of the window, which says nothing of scale.
    """
    found = []
    for view in range(before.depth.shape[1]):
        one, other = before.depth[0, view].flatten(), after.depth[0, view].flatten()
        sure = torch.minimum(before.depth_conf[0, view], after.depth_conf[0, view]).flatten()
        ratio = one.double() / other.double()
        kept = (one > 0) & (other > 0) & ratio.isfinite() & sure.isfinite()
        if not kept.any():
            raise InputError(
                f"shared view {view} has no pixel with a depth in both windows; they "
                "cannot be joined then: give a larger overlap"
            )
        ground = kept & ~(_sky(before, view) | _sky(after, view))
        kept = ground if ground.any() else kept
        found.append(ratio[kept & (sure >= sure[kept].median())].median())
    return torch.stack(found)


def _sky(prediction: Prediction, view: int) -> Bool[Tensor, " n"]:
    """Pixels of a view that show sky, where the network tells."""
    if prediction.sky is None:
        return torch.zeros_like(prediction.depth[0, view], dtype=torch.bool).flatten()
    return prediction.in_sky()[0, view].flatten()


def _mean_rotation(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, "3 3"]:
    u, _, vt = torch.linalg.svd(rotations.sum(0))
    sign = u.new_ones(3)
    sign[2] = torch.sign(torch.det(u @ vt))
    return u @ torch.diag(sign) @ vt


def _degrees(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, " v"]:
    cosine = (rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def views_of(prediction: Prediction, start: int, end: int | None) -> Prediction:
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
