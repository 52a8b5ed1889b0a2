"""From a scene without a unit to meters, with the depth and sky that a metric network sees.

Source: Depth Anything 3 (arXiv 2511.10647), its nested model.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.blocks.precision import in_float64
from recon_backbones.checks import Axes, is_readable
from recon_backbones.errors import InputError
from recon_backbones.prediction import SKY, Prediction

_FEWEST = 10  # pixels from which a scale or a far depth is trusted
_NEAREST, _NEAREST_METERS = 1e-3, 1e-2  # depths below these take no part in the fit
_FARTHEST_METERS = 200.0


def in_meters(
    depth: Float[Tensor, "b v y x"],
    intrinsics: Float[Tensor, "b v 3 3"],
    *,
    canonical_focal: float = 300.0,
) -> Float[Tensor, "b v y x"]:
    """Depth that is metric at a canonical focal length, in meters for these cameras.

    `intrinsics` are in pixels of the image that the network saw. Raises ValueError for tensors of
    other shapes or devices than one another.
    """
    axes = Axes()
    axes.check(depth, "depth", "b v y x")
    axes.check(intrinsics, "intrinsics", "b v 3 3", one_type=False)
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (focal / canonical_focal)[..., None, None]


def metric_scale(
    prediction: Prediction, meters: Float[Tensor, "b v y x"], sky: Float[Tensor, "b v y x"]
) -> Float[Tensor, " b"]:
    """Meters per unit of each scene, by least squares over its surer half outside the sky.

    Raises ValueError for a scene with fewer than 10 usable pixels.
    """
    ground = sky < SKY
    middle = masked_quantile(prediction.depth_conf, ground, 0.5)
    used = ground & (prediction.depth_conf >= middle[:, None, None, None])
    nearest = _NEAREST * masked_quantile(prediction.depth, used, 0.5)[:, None, None, None]
    used = used & (meters > _NEAREST_METERS) & (prediction.depth > nearest)
    used = used & meters.isfinite() & prediction.depth.isfinite()
    if is_readable(used):
        count = used.flatten(1).sum(1)
        if (count < _FEWEST).any():
            raise InputError(
                f"scene {int(count.argmin())} shows {int(count.min())} pixels that are sure and no "
                f"sky; its scale in meters needs {_FEWEST}: give views of nearer things"
            )
    depth, meters = (torch.where(used, of, 0).flatten(1) for of in (prediction.depth, meters))
    return (depth * meters).sum(1) / depth.square().sum(1)


def to_metric(
    prediction: Prediction,
    depth: Float[Tensor, "b v y x"],
    sky: Float[Tensor, "b v y x"],
    *,
    canonical_focal: float = 300.0,
) -> Prediction:
    """Bring a scene to meters: depth, cameras, points, rays and splats alike.

    `depth` and `sky` are what a metric network saw in the same images (`MonoDepth`). The result
    carries the sky; there depth is the far depth of the scene, at most 200 m, and confidence 1.

    Raises ValueError if the scale is not determined, and for tensors of other shapes or devices
    than the prediction's.
    """
    axes = Axes()
    axes.check(prediction.depth, "prediction.depth", "b v y x")
    axes.check(depth, "depth", "b v y x", one_type=False)
    axes.check(sky, "sky", "b v y x", one_type=False)
    meters = in_meters(depth, prediction.intrinsics, canonical_focal=canonical_focal)
    scaled = prediction.scaled(metric_scale(prediction, meters, sky))
    filled = fill_sky(scaled.depth, sky, farthest=_FARTHEST_METERS)
    confidence = torch.where(sky < SKY, scaled.depth_conf, 1)
    return replace(scaled, depth=filled, depth_conf=confidence, sky=sky, metric=True)


def fill_sky(
    depth: Float[Tensor, "b v y x"], sky: Float[Tensor, "b v y x"], *, farthest: float = torch.inf
) -> Float[Tensor, "b v y x"]:
    """Put the sky at the 99 % quantile of the other depth of its scene, at most `farthest`.

    Scenes with 10 pixels or fewer on either side are left as they are.
    """
    ground = sky < SKY
    far = masked_quantile(depth, ground & depth.isfinite(), 0.99).clamp_max(farthest)
    count = ground.flatten(1).sum(1)
    clear = (count > _FEWEST) & (ground[0].numel() - count > _FEWEST)
    hidden = ~ground & clear[:, None, None, None]
    return torch.where(hidden, far[:, None, None, None], depth)


def masked_quantile(
    values: Float[Tensor, "b v y x"], mask: Bool[Tensor, "b v y x"], q: float
) -> Float[Tensor, " b"]:
    """Quantile of each scene's masked values, linear between neighbors; infinite for none."""
    ordered = torch.where(mask, values, torch.inf).flatten(1).sort(dim=1).values
    at = q * (in_float64(mask.flatten(1).sum(1, keepdim=True)) - 1).clamp_min(0)
    places = (index.long().to(values.device) for index in (at.floor(), at.ceil()))
    low, high = (ordered.gather(1, place) for place in places)
    part = (at - at.floor()).to(values)
    return torch.where(part > 0, low + (high - low) * part, low)[:, 0]
