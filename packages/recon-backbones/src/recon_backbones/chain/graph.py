"""A graph of similarities: places of windows that agree best with all that is known between them.

Levenberg and Marquardt's method over logarithms of similarities; derivatives by differences, as
windows are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from recon_backbones.geometry.similarity import SimilarityMap, similarity_exp, similarity_log

STEPS, QUIET = 50, 1e-10  # at most so many, and the fall of the cost in one that ends them
SMALL = 1e-6  # by which logarithms are moved for derivatives


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What is known between two places: `similarity` takes what is in `second` to `first`.

    Twice the `weight` says that errors are likely half as large.
    """

    first: int
    second: int
    similarity: SimilarityMap
    weight: float = 1.0


def settle(places: Sequence[SimilarityMap], edges: Sequence[Edge]) -> list[SimilarityMap]:
    """Move places, all but the first, until what they say of the edges differs least from them.

    - `places`: take what is in each to the world.

    Turns, growths and shifts count alike, shifts in units of the median step along the edges.
    """
    unit = _unit(edges)
    at = torch.stack([_in_unit(place, unit).matrix for place in places])
    known = torch.stack([_in_unit(edge.similarity, unit).matrix for edge in edges])
    ends = torch.tensor([[edge.first, edge.second] for edge in edges], device="cpu")
    weight = torch.tensor([[edge.weight] for edge in edges], dtype=torch.float64, device="cpu")
    cost, damping = _cost(at, known, ends, weight), 1e-6
    for _ in range(STEPS):
        matrix, side = _equations(at, known, ends, weight)
        while damping < 1e6:
            eased = matrix + damping * torch.diag(matrix.diagonal() + 1e-9)
            step = torch.linalg.solve(eased, -side).unflatten(0, (len(at) - 1, 7))
            trial = torch.cat([at[:1], at[1:] @ similarity_exp(step)])
            found = _cost(trial, known, ends, weight)
            if found <= cost:
                break
            damping = max(damping, 1e-9) * 10
        else:
            break
        fall, at, cost, damping = cost - found, trial, found, damping / 10
        if fall <= QUIET * max(cost, 1e-20):
            break
    return [_in_unit(SimilarityMap.of(matrix), 1 / unit) for matrix in at]


def disagreement(places: Sequence[SimilarityMap], edge: Edge) -> Float64[Tensor, "7"]:
    """The logarithm of what is between two places and what is known there."""
    between = edge.similarity.inverse @ places[edge.first].inverse @ places[edge.second]
    return similarity_log(between.matrix)


def _unit(edges: Sequence[Edge]) -> float:
    steps = torch.stack([edge.similarity.translation.norm() for edge in edges])
    return max(float(steps.median()), 1e-12)


def _in_unit(place: SimilarityMap, unit: float) -> SimilarityMap:
    return SimilarityMap(
        scale=place.scale, rotation=place.rotation, translation=place.translation / unit
    )


def _errors(
    first: Float64[Tensor, "*b 4 4"],
    second: Float64[Tensor, "*b 4 4"],
    known: Float64[Tensor, "*b 4 4"],
) -> Float64[Tensor, "*b 7"]:
    return similarity_log(torch.linalg.solve(first @ known, second))


def _cost(at: Tensor, known: Tensor, ends: Tensor, weight: Tensor) -> float:
    return float((weight * _errors(at[ends[:, 0]], at[ends[:, 1]], known)).square().sum())


def _equations(
    at: Float64[Tensor, "n 4 4"],
    known: Float64[Tensor, "e 4 4"],
    ends: Int64[Tensor, "e 2"],
    weight: Float64[Tensor, "e 1"],
) -> tuple[Float64[Tensor, "m m"], Float64[Tensor, " m"]]:
    """Normal equations of all places but the first."""
    error = weight * _errors(at[ends[:, 0]], at[ends[:, 1]], known)
    moves = similarity_exp(SMALL * torch.eye(7, dtype=torch.float64, device="cpu"))
    back = similarity_exp(-SMALL * torch.eye(7, dtype=torch.float64, device="cpu"))
    rows = torch.zeros(len(ends), 7, 7 * len(at), dtype=torch.float64, device="cpu")
    for side in (0, 1):
        pair = [at[ends[:, 0]][:, None], at[ends[:, 1]][:, None]]
        changed = []
        for move in (moves, back):
            moved = list(pair)
            moved[side] = pair[side] @ move
            moved.append(known[:, None])
            changed.append(_errors(*(m.expand(-1, 7, 4, 4) for m in moved)))
        by = ((changed[0] - changed[1]) / (2 * SMALL)).mT
        columns = 7 * ends[:, side, None] + torch.arange(7, device="cpu")
        rows.scatter_add_(2, columns[:, None].expand(-1, 7, -1), by)
    flat = (weight[..., None] * rows).flatten(0, 1)[:, 7:]
    return flat.T @ flat, flat.T @ error.flatten()
