"""Area under the curve of recall over error threshold: two definitions, never to be mixed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes


def auc_histogram(errors: Float[Tensor, " p"], threshold: int) -> float:
    """Return the mean over k = 1..threshold of the fraction of errors below k, in [0, 1].

    The definition of PoseDiffusion, VGGT and Depth Anything 3: a histogram with edges 0, 1, ...,
    threshold, its last bin closed, cumulated and averaged. An error of 0.9 counts like one of 0.
    """
    e = _check(errors, threshold).clone()
    (threshold,) = whole_degrees([threshold])
    e[e == threshold] = threshold - 0.5  # the last bin holds its right edge
    return sum(float((e < k).double().mean()) for k in range(1, threshold + 1)) / threshold


def auc_exact(errors: Float[Tensor, " p"], threshold: float | int) -> float:
    """Return the integral of recall up to `threshold` over `threshold`, in [0, 1].

    The trapezoid of the empirical recall curve from (0, 0), held flat from the last error below the
    threshold, as defined by SuperGlue and the Image Matching Challenge.
    """
    e = _check(errors, threshold).sort().values
    below = e[e < threshold]
    recall = torch.arange(len(below) + 1, dtype=torch.float64, device=e.device) / len(e)
    x = torch.cat([e.new_zeros(1), below, e.new_tensor([threshold])])
    return float(torch.trapezoid(torch.cat([recall, recall[-1:]]), x)) / threshold


def whole_degrees(thresholds: Sequence[int | float]) -> list[int]:
    """Return thresholds as whole numbers. Raises ValueError where one is none, or none is given."""
    if not thresholds or any(k < 1 or not float(k).is_integer() for k in thresholds):
        raise ValueError(
            f"thresholds={thresholds}; they must be whole degrees of at least 1: (5, 15, 30) "
            "are usual"
        )
    return [int(k) for k in thresholds]


def _check(errors: Tensor, threshold: float | int) -> Tensor:
    if not threshold > 0:
        raise ValueError(f"threshold={threshold}; it must be above 0: 30 degrees are usual")
    Axes().check(errors, "errors", "p")
    if not len(errors) or not bool((errors >= 0).all()):
        raise ValueError(
            f"errors: {len(errors)} values, some below 0 or NaN; none may be: pass "
            "infinity for what failed"
        )
    return errors.double()
