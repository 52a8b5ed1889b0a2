"""Rounding that suits what a layer is given, not each weight by itself.

A layer computes W x. Rounding W to the nearest codes makes the sum of squares of W - Q least, but
what counts is that of (W - Q) x over the inputs x, which is tr (W - Q) M (W - Q)^T with their
second moments M = mean x x^T. Inputs of a network are far from independent, so most of an error
can be made up for: weights are rounded one input after the other, and what each leaves is taken up
by those still to come (GPTQ, Frantar et al., arXiv 2210.17323, section 3; optimal brain surgeon).
"""

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from fp8_qat.numerics.errors import check_tensor
from fp8_qat.numerics.formats import Format, decode, encode, round_
from fp8_qat.numerics.quantize import QuantizedTensor, dequantize, quantize
from fp8_qat.numerics.spec import Spec

DAMPING = 0.01  # of the mean square of an input: what was seen is not all there is
RUN = 64  # inputs whose errors are taken up one by one, before those behind them take up all


def quantize_fitted(weight: Float[Tensor, "n k"], spec: Spec, moments: Tensor) -> QuantizedTensor:
    """Quantize a weight as `quantize` does, but for codes that suit inputs of these moments.

    Scales are those of `quantize`, and so are the codes of each block's largest magnitude, so that
    the values quantize to themselves. A row keeps the nearest codes where they answer better.

    - `moments`: (k, k), mean x x^T over inputs x, or a multiple of it.

    Raises ValueError for moments of another shape, type or device, and for what are none.
    """
    _check(moments, weight)
    nearest = quantize(weight, spec)
    if not (weight.isfinite().all() and moments.isfinite().all()):
        return nearest
    where = moments.device if moments.device.type != "mps" else torch.device("cpu")
    wanted, square = weight.detach().to(where).float(), moments.to(where).double()
    ones = encode(torch.ones_like(wanted), spec.fp8)
    scale = dequantize(_with(nearest, ones.to(weight.device))).to(where)
    first = decode(nearest.codes, spec.fp8).to(where)
    found = _made_up_for(wanted, first, scale, square, spec.fp8)
    better = _error(found * scale - wanted, square) < _error(first * scale - wanted, square)
    chosen = torch.where(better[:, None], found, first).to(weight.device)
    return _with(nearest, encode(chosen, spec.fp8))


def _check(moments: Tensor, weight: Tensor) -> None:
    check_tensor("moments", moments)
    shape = (weight.shape[1], weight.shape[1])
    fits = moments.shape == shape and moments.is_floating_point()
    if not fits or moments.device != weight.device:
        raise ValueError(
            f"moments={moments.dtype} of shape {tuple(moments.shape)} on {moments.device}; they "
            f"must be floating point of shape {shape} on {weight.device}, as the weight is: "
            "observe the layer that is quantized"
        )


def _made_up_for(
    wanted: Float32[Tensor, "n k"],
    nearest: Float32[Tensor, "n k"],
    scale: Float32[Tensor, "n k"],
    square: Float64[Tensor, "k k"],
    format: Format,
) -> Float32[Tensor, "n k"]:
    """Round input after input, those that vary most first; the result is not multiplied back."""
    ways = square.diagonal().argsort(descending=True, stable=True)
    left, nearest, scale = (x.T.index_select(0, ways) for x in (wanted, nearest, scale))
    factor = _factor(square[ways][:, ways]).float()
    ends = nearest.abs() >= format.max
    found = torch.empty_like(left)
    for start in range(0, len(left), RUN):
        run, rest = slice(start, start + RUN), slice(start + RUN, None)
        errors = torch.empty_like(left[run])
        for i in range(start, start + len(errors)):
            rounded = torch.where(ends[i], nearest[i], round_(left[i] / scale[i], format))
            found[i] = rounded
            error = (left[i] - rounded * scale[i]) / factor[i, i]
            left[i : start + RUN].addr_(factor[i, i : start + RUN], error, alpha=-1)
            errors[i - start] = error
        left[rest] -= factor[run, rest].T @ errors
    return found.index_select(0, ways.argsort()).T.contiguous()  # as products on a GPU want it


def _factor(square: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """The upper Cholesky factor of the inverse; an input that is always zero stands alone."""
    size = square.diagonal().mean().clamp_min(torch.finfo(square.dtype).tiny)
    damped = square / size
    damped = damped + torch.eye(len(square), dtype=square.dtype, device=square.device) * DAMPING
    lower, failed = torch.linalg.cholesky_ex(damped)
    if failed:
        raise ValueError(
            "moments=a matrix with a negative eigenvalue; they must be mean x x^T of inputs x: "
            "collect them by observed_inputs"
        )
    return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)


def _error(left: Float32[Tensor, "n k"], square: Float64[Tensor, "k k"]) -> Float64[Tensor, " n"]:
    """The mean square of what each row answers wrong."""
    return ((left.double() @ square) * left).sum(1)


def _with(like: QuantizedTensor, codes: Tensor) -> QuantizedTensor:
    return QuantizedTensor(codes=codes, scale=like.scale, spec=like.spec)
