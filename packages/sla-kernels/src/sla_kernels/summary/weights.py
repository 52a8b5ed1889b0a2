"""What a cell says for its tokens: their mean under weights that suit those who will ask.

A cell answers a query q with one key k~ = sum w_j k_j, one value v~ = sum w_j v_j and one bias, the
entropy H(w) of its weights. By Gibbs' variational principle

    log sum_j exp(s q . k_j) >= s q . k~ + H(w)        with equality for w = softmax(s q . k_j)

so that no weights overstate a cell's mass, and uniform ones (a plain mean, H = log count) suit the
query 0. Here they suit the mean of the queries that ask for the surrounding coarse cell, weighted
by the mass that they leave to summaries there: w_j = softmax(tilt_j) within the cell, with
tilt_j = s q0 . k_j. Like the choice of blocks, weights are constants to autograd.

Cells of every size take their exponentials from the largest tilt of their coarse cell. So that none
is left without weight, no token counts as further below it than `DEEPEST`.
"""

from typing import NamedTuple

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor

from sla_kernels.runtime.products import at_least_float32
from sla_kernels.summary.cells import summed
from sla_kernels.summary.layout import Layout

LEAST_MASS = 1e-6  # of a coarse cell that every query reads exactly
DEEPEST = 50.0  # nats: float32 holds exp(-50) and what is divided by it, and no sum notices it


class Weights(NamedTuple):
    """Weights of the tokens within the cells of each level, and the cells' entropies.

    `shares` are not divided by their `totals` yet, which are the sums over each level's cells.
    """

    shares: Float[Tensor, "b g padded"]
    totals: list[Float[Tensor, "b g _ 1"]]
    entropies: list[Float[Tensor, "b g _"]]


def asked(
    mass: Float[Tensor, "b h query_blocks cells"],
    q: Float[Tensor, "b h query_blocks d"],
    group: int,
) -> Float[Tensor, "b g cells d"]:
    """The mean query of those who leave mass to the summaries of each coarse cell."""
    mass = rearrange(mass.clamp_min(LEAST_MASS), "b (g r) i c -> b g c (r i)", r=group)
    q = rearrange(q, "b (g r) i d -> b g (r i) d", r=group)
    return (mass / mass.sum(-1, keepdim=True)) @ q


def tilts(
    q: Float[Tensor, "b g cells d"], k: Float[Tensor, "b g padded d"], scale: float, size: int
) -> Float[Tensor, "b g padded"]:
    """Score each token by the query of its coarse cell of `size` tokens; the last may be short."""
    q = q.to(k)
    whole = k.shape[2] // size
    full = rearrange(k[:, :, : whole * size], "b g (cell i) d -> b g cell i d", i=size)
    scores = full @ rearrange(q[:, :, :whole], "b g cell d -> b g cell d 1")
    rest = k[:, :, whole * size :] @ rearrange(q[:, :, -1], "b g d -> b g d 1")
    scores = rearrange(scores, "b g cell i 1 -> b g (cell i)")
    found = torch.cat([scores, rest[..., 0]], 2).to(at_least_float32(k))
    return (found * scale).nan_to_num(0, 0, 0)


def lifted(tilt: Float[Tensor, "b g padded"], layout: Layout) -> Float[Tensor, "b g padded"]:
    """Raise tilts to `DEEPEST` below the largest of their coarse cell; padding stays as it is."""
    least = _tops(tilt, layout) - DEEPEST
    return torch.where(tilt == -torch.inf, tilt, torch.maximum(tilt, least))


def weights_of(tilt: Float[Tensor, "b g padded"], layout: Layout) -> Weights:
    """Softmax within every cell of every size, from one exponential.

    Padding must hold minus infinity, and nothing else be further below than `lifted` leaves it.
    """
    logits = tilt - _tops(tilt, layout)
    shares = logits.exp()
    totals = summed(shares[..., None], layout)
    products = summed((shares * logits.clamp_min(torch.finfo(tilt.dtype).min))[..., None], layout)
    entropies = [
        (total.log() - product / total)[..., 0]
        for total, product in zip(totals, products, strict=True)
    ]
    return Weights(shares, totals, entropies)


def _tops(tilt: Float[Tensor, "b g padded"], layout: Layout) -> Float[Tensor, "b g padded"]:
    """The largest tilt of each token's coarse cell."""
    size = layout.sizes[-1]
    missing = layout.cells(len(layout.sizes) - 1) * size - tilt.shape[2]
    whole = torch.nn.functional.pad(tilt, (0, missing), value=-torch.inf)
    top = reduce(whole, "b g (cell i) -> b g cell", "max", i=size)
    return repeat(top, "b g cell -> b g (cell i)", i=size)[:, :, : tilt.shape[2]]
