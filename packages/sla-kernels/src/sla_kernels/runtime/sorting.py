"""Sorting rows. On a CPU NumPy's vectorized sorts do it, tens of times as fast as PyTorch's."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

_LAST = 32  # bits that hold a place


def stable_argsort(values: Float[Tensor, "*rows n"]) -> Int64[Tensor, "*rows n"]:
    """Places in ascending order along the last axis; ties keep their order, NaN comes last."""
    if not _packs(values):
        return values.argsort(dim=-1, stable=True)
    packed = _packed(values)
    np.ndarray.sort(packed.numpy(), axis=-1)
    return packed.bitwise_and_((1 << _LAST) - 1)


def split_largest(
    values: Float[Tensor, "rows n"], count: int
) -> tuple[Int64[Tensor, "rows count"], Int64[Tensor, "rows rest"]]:
    """Places of the `count` largest in any order, and those of all others in ascending order.

    Of equal values the last are the largest on a CPU.
    """
    rest = values.shape[1] - count
    if _packs(values):
        packed = _packed(values)
        np.ndarray.partition(packed.numpy(), min(rest, values.shape[1] - 1), axis=-1)
        places = packed.bitwise_and_((1 << _LAST) - 1)
        np.ndarray.sort(places[:, :rest].numpy(), axis=-1)
        return places[:, rest:], places[:, :rest]
    best = values.topk(count, dim=1, sorted=False).indices
    out = torch.ones_like(values, dtype=torch.int32).scatter(1, best, 0)
    place = torch.where(out == 0, rest, out.cumsum(1) - 1)
    numbers = torch.arange(values.shape[1], device=values.device).expand_as(place)
    stay = best.new_empty((len(values), rest + 1)).scatter(1, place, numbers)
    return best, stay[:, :-1]


def _packs(values: Tensor) -> bool:
    fits = values.device.type == "cpu" and values.dtype == torch.float32
    return fits and not torch.compiler.is_compiling()  # NumPy is no part of a graph


def _packed(values: Float[Tensor, "*rows n"]) -> Int64[Tensor, "*rows n"]:
    """Integers that ascend as values do, then as places do: a number's bits before its place.

    The bits of a negative number descend as the number ascends, so they are flipped; -0 becomes 0.
    """
    bits = (values + 0.0).view(torch.int32)
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).masked_fill_(
        values.isnan(), torch.iinfo(torch.int32).max
    )
    places = torch.arange(values.shape[-1], device=values.device)
    return ascending.to(torch.int64).bitwise_left_shift_(_LAST).add_(places)
