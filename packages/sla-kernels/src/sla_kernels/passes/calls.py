"""The passes as functions of tensors."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.order.median import STEEP, TINY, TURNS
from sla_kernels.order.plan import halvings
from sla_kernels.passes import cells, halving, softmax, walk, weights
from sla_kernels.passes.tokens import Tokens, flat
from sla_kernels.passes.walk import Asking, Lists, Table
from sla_kernels.runtime.grid import strided
from sla_kernels.runtime.team import is_whole, size
from sla_kernels.summary.layout import Budget, Layout
from sla_kernels.summary.rows import room_for

__all__ = [
    "averages",
    "halved",
    "is_whole",
    "laid_out",
    "mean_queries",
    "put_back",
    "soften",
    "tilts",
    "walked",
]
STEPS = 4  # of a walk: fewer are compiled with those of more
EMPTY = torch.empty(0, dtype=torch.float32, device="cpu")  # whatever PyTorch makes unless told
_TURNING = TURNS, np.float32(STEEP), np.float32(TINY)


def averages(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    layout: Layout,
) -> list[tuple[Float[Tensor, "heads room d"], Float[Tensor, "heads room"]]]:
    """For each size the mean keys of cells, and how far their keys times their values spread."""
    d, heads, rooms = k.shape[3], k.shape[0] * k.shape[1], layout.rooms
    means, spreads = EMPTY.new_empty(heads, sum(rooms), d), EMPTY.new_ones(heads, sum(rooms))
    tokens = Tokens.of(k, order), Tokens.of(v, order)
    found = means.flatten(1).numpy(), spreads.numpy()
    firsts = np.cumsum([0, *rooms[:-1]])
    cells.average_cells(tokens, *found, np.array(layout.sizes), firsts, d, size())
    made = means.split(rooms, 1)
    for level, table in enumerate(made):
        table[:, layout.cells(level) :] = 0
    return list(zip(made, spreads.split(rooms, 1), strict=True))


def mean_queries(
    q: Float[Tensor, "b h n d"],
    order: Int64[Tensor, "b free"],
    parts: int,
    length: int,
    scale: float,
) -> Float[Tensor, "b h parts d"]:
    """Means of `parts` runs of `length` ordered queries, times `scale`."""
    made = EMPTY.new_empty(*q.shape[:2], parts, q.shape[3])
    rows, tokens = made.flatten(0, 1).flatten(1).numpy(), Tokens.of(q, order)
    cells.average_runs(tokens, rows, np.float32(scale), length, q.shape[3], size())
    return made


def walked(
    parts: Float[Tensor, "blocks r d"],
    pinned: Float[Tensor, "blocks r 1"],
    head: Int64[Tensor, "blocks 1"],
    levels: Sequence[tuple[Tensor, Tensor, Tensor]],
    layout: Layout,
    budget: Budget,
    *,
    summaries: bool,
) -> tuple[Int32[Tensor, "blocks listed"], Float[Tensor, "blocks coarse"]]:
    """Lists of rows, and the mass that each block leaves to the summaries of each coarse cell."""
    blocks, top = len(parts), len(layout.sizes) - 1
    rows = torch.empty(blocks, budget.listed(layout, summaries), dtype=torch.int32, device="cpu")
    left = EMPTY.new_empty(blocks, layout.cells(top))
    given = (x.flatten(start).numpy() for x, start in ((parts, 0), (pinned, 1), (head, 0)))
    asking = Asking(*given, parts.shape[2])
    tables = [
        Table(
            flat(keys), flat(spread), logs.numpy(), spread.stride(0), layout.first(level),
            layout.cells(level), budget.chosen[level], layout.fanout(level),
        )
        for level, (keys, logs, spread) in reversed(list(enumerate(levels)))
    ]  # fmt: skip
    named = layout.pinned, layout.first(top + 1), layout.tokens, layout.nothing
    coarse = layout.sizes[top] // layout.sizes[0]
    lists = Lists(rows.numpy(), left.numpy(), *named, coarse, summaries)
    given = tuple(tables + tables[-1:] * (STEPS - len(tables)))
    walk.walk(asking, given, len(tables), max(budget.candidates), lists, size())
    return rows, left


def tilts(
    q: Float[Tensor, "b g cells d"],
    k: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    scale: float,
    layout: Layout,
) -> Float[Tensor, "b g padded"]:
    """Score each token by the query of its coarse cell; padding scores minus infinity."""
    made = EMPTY.new_full((*k.shape[:2], layout.padded), -torch.inf)
    asked = q.to(k.dtype).float().flatten(0, 1).flatten(1).numpy()
    given = Tokens.of(k, order), asked, made.flatten(0, 1).numpy(), np.float32(scale)
    weights.score_tokens(*given, layout.sizes[-1], k.shape[3], size())
    return made


def laid_out(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    outside: Int64[Tensor, " pinned"],
    tilt: Float[Tensor, "b g padded"],
    layout: Layout,
) -> tuple[Float[Tensor, "b g rows d"], Float[Tensor, "b g rows d"], Float[Tensor, "b g rows"]]:
    """Keys and values of all rows, and the entropies of cells; zero elsewhere."""
    heads, last = k.shape[0] * k.shape[1], layout.first(len(layout.sizes))
    firsts = np.array([layout.first(level) for level in range(len(layout.sizes))])
    room = [np.empty((heads, n), np.float32) for n in (layout.tokens, last - layout.padded)]
    bias, tilted = EMPTY.new_zeros(*k.shape[:2], layout.rows), tilt.flatten(0, 1).numpy()
    keys, values = (room_for(x, outside, layout, x.dtype) for x in (k, v))
    rows = tuple(flat(x).reshape(heads, -1) for x in (keys, values))
    tokens, entropies = (Tokens.of(k, order), Tokens.of(v, order)), bias.flatten(0, 1).numpy()
    given = tokens, rows, tilted, tuple(room), entropies, np.array(layout.sizes), firsts
    cells.lay_out(*given, k.shape[3], size())
    return keys, values, bias


def put_back(
    found: Float[Tensor, "b h padded d"],
    order: Int64[Tensor, "b free"],
    out: Float[Tensor, "b h n d"],
) -> None:
    """Write what stands in order to where its tokens stand."""
    rows = Tokens.of(found.to(out), order)
    given = rows.numbers, rows.starts, rows.step, Tokens.of(out, order)
    cells.put_back(*given, found.shape[3], size())


def soften(
    scores: Float[Tensor, "i q listed"], bias: Float[Tensor, "i 1 listed"], scale: float
) -> None:
    """Replace scores by the softmax of scale * score + bias over what is listed."""
    _, queries, listed = scores.shape
    softmax.soften(flat(scores), flat(bias), np.float32(scale), queries, listed, size())


def halved(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions by halving each segment along its own direction."""
    made, threads = torch.empty(features.shape[:2], dtype=torch.int64), size()
    for scene, out in zip(features.contiguous().numpy(), made.numpy(), strict=True):
        now = np.arange(len(scene)), scene.copy()
        then = np.empty_like(now[0]), np.empty_like(scene)
        for starts, ends, width in _steps(len(scene), tuple(sizes)):
            places = np.empty((len(starts), width), np.int64)
            halving.place(now[1], starts, ends, places, _TURNING, threads)
            places.sort(axis=1)  # NumPy's takes a tenth of what a compiled one would
            halving.move(now, then, starts, ends, places, threads)
            now, then = then, now
        out[:] = now[0]
    return made


@functools.lru_cache(maxsize=128)
def _steps(tokens: int, sizes: tuple[int, ...]) -> tuple[tuple[np.ndarray, np.ndarray, int], ...]:
    """Of every step the first places of the segments, those behind their last, and the longest."""
    return tuple(
        (starts.copy(), ends.copy(), int((ends - starts).max()))
        for starts, ends in (np.array(step).T for step in halvings(tokens, sizes))
    )
