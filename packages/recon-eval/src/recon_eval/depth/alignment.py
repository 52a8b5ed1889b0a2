"""How a predicted depth is brought to the scale of the truth before it is measured.

All fits see valid pixels only, in float64. For predicted depth d and true depth g:
none: d. median: s = median(g) / median(d). scale_l1: s minimizes sum |s d - g|.
scale_l2: s minimizes sum (s d - g)^2. affine_l1, affine_l2: the same with s d + t.
disparity_affine: s / d + t fitted to 1 / g by least squares, then inverted (Ranftl et al.,
"Towards robust monocular depth estimation", PAMI 2022, section 5).
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes

Alignment = Literal[
    "none", "median", "scale_l1", "scale_l2", "affine_l1", "affine_l2", "disparity_affine"
]
Scope = Literal["sequence", "image"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)


def align(
    predicted: Float[Tensor, " p"], target: Float[Tensor, " p"], kind: Alignment
) -> tuple[Float[Tensor, " p"], float, float]:
    """Fit `predicted` to `target` (both positive, finite) and return it aligned, scale and shift.

    For `disparity_affine` the scale and the shift are those of the disparity. Aligned values can be
    zero, negative or infinite where a shift was fitted.
    """
    if kind not in ALIGNMENTS:
        raise ValueError(
            f"alignment={kind!r}; it must be known: pass one of {', '.join(ALIGNMENTS)}"
        )
    axes = Axes()
    axes.check(predicted, "predicted", "p")
    axes.check(target, "target", "p")
    d, g = predicted.double(), target.double()
    if kind == "disparity_affine":
        if not bool((d > 0).all()):
            raise ValueError("predicted: has depths <= 0; these have no disparity: mask them")
        scale, shift = _affine_l2(1 / d, 1 / g)
        # a disparity below zero lies beyond infinity: infinitely far, not behind the camera
        return 1 / (scale / d + shift).clamp_min(0), scale, shift
    scale, shift = _FITS[kind](d, g)
    return scale * d + shift, scale, shift


def _none(d: Tensor, g: Tensor) -> tuple[float, float]:
    return 1.0, 0.0


def _median(d: Tensor, g: Tensor) -> tuple[float, float]:
    return _ratio(float(_middle(g)), float(_middle(d)), "median"), 0.0


def _scale_l1(d: Tensor, g: Tensor) -> tuple[float, float]:
    # sum |s d - g| = sum |d| |s - g / d|: the weighted median of g / d with weights |d|.
    d, g = d[d != 0], g[d != 0]
    if not len(d):
        raise ValueError(
            "predicted: is zero at every valid pixel; it has no scale: pass alignment='none'"
        )
    ratios, order = torch.sort(g / d)
    weights = torch.cumsum(d.abs()[order], 0)
    return _forwards(float(ratios[torch.searchsorted(weights, weights[-1] / 2)])), 0.0


def _scale_l2(d: Tensor, g: Tensor) -> tuple[float, float]:
    return _forwards(_ratio(float((d * g).sum()), float((d * d).sum()), "mean square")), 0.0


def _forwards(scale: float) -> float:
    if not scale > 0:  # depth behind the camera would be perfect
        raise ValueError(
            f"predicted: its scale to the truth is {scale:.3g}; it must be above 0, in front of "
            "the camera: give z-depth that grows forwards"
        )
    return scale


def _affine_l2(d: Tensor, g: Tensor) -> tuple[float, float]:
    mean_d, mean_g = d.mean(), g.mean()
    if _is_constant(d):
        return 0.0, float(mean_g)  # a constant prediction explains nothing but the mean
    variance = float(((d - mean_d) ** 2).mean())
    scale = float(((d - mean_d) * (g - mean_g)).mean()) / variance
    return scale, float(mean_g - scale * mean_d)


def _affine_l1(d: Tensor, g: Tensor) -> tuple[float, float]:
    """Minimize over the scale alone, the shift being a median: a convex function of one number."""
    if _is_constant(d):
        return 0.0, float(_middle(g))  # every scale is as good, and large ones round the sum

    def loss(scale: float) -> float:
        residual = g - scale * d
        return float((residual - _middle(residual)).abs().sum())

    start, _ = _affine_l2(d, g)
    step = max(abs(start), float(g.std(unbiased=False)) / max(float(d.std(unbiased=False)), 1e-12))
    low, high = start - step, start + step
    while loss(low) < loss(start):
        low, step = low - step, 2 * step
    while loss(high) < loss(start):
        high, step = high + step, 2 * step
    scale = _golden_section(loss, low, high)
    return scale, float(_middle(g - scale * d))


def _is_constant(d: Tensor) -> bool:
    return float(d.var(unbiased=False)) <= 1e-24 * float(d.mean()) ** 2


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Return the minimum of a convex function between two bounds, to 1e-12 of their distance."""
    inner = (5**0.5 - 1) / 2
    a, b = high - inner * (high - low), low + inner * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    for _ in range(60):
        if loss_a <= loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - inner * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + inner * (high - low)
            loss_b = loss(b)
    return (low + high) / 2


def _middle(values: Tensor) -> Tensor:
    """The median as the mean of the two middle values; `torch.median` takes the lower one."""
    lower = values.kthvalue((len(values) + 1) // 2).values
    return (lower + values.kthvalue(len(values) // 2 + 1).values) / 2


def _ratio(above: float, below: float, what: str) -> float:
    if not below > 0:
        raise ValueError(
            f"predicted: its {what} over the valid pixels is {below}; it must be above 0: "
            "mask such pixels, or pass alignment='none'"
        )
    return above / below


_FITS: dict[str, Callable[[Tensor, Tensor], tuple[float, float]]] = {
    "none": _none,
    "median": _median,
    "scale_l1": _scale_l1,
    "scale_l2": _scale_l2,
    "affine_l1": _affine_l1,
    "affine_l2": _affine_l2,
}
