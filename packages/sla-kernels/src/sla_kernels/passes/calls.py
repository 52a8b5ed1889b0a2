"""The passes as functions of tensors."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.median import STEEP, TINY, TURNS
from sla_kernels.order.plan import halvings
from sla_kernels.passes import cells, halving, softmax, weights
from sla_kernels.passes.tokens import LEAST, Tokens, flat, in_cells, in_runs
from sla_kernels.passes.walk import walked
from sla_kernels.runtime.grid import strided
from sla_kernels.runtime.team import is_whole, size
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import Layout
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
ROWS = 64  # of scores, for each thread: fewer are done as soon as they are shared
STEP = 3072  # tokens in one step of an order, likewise
Ordered = tuple[np.ndarray, np.ndarray]  # positions of tokens in their order, and features
Step = tuple[np.ndarray, np.ndarray, int]  # where segments begin and end, and the longest
EMPTY = torch.empty(0, dtype=torch.float32, device="cpu")  # whatever PyTorch makes unless told


def averages(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    layout: Layout,
) -> list[tuple[Float[Tensor, "heads room d"], Float[Tensor, "heads room"]]]:
    """For each size the mean keys of cells, and how far their keys times their values spread."""
    d, heads, rooms = k.shape[3], k.shape[0] * k.shape[1], layout.rooms
    sizes, firsts = np.array(layout.sizes), np.cumsum([0, *rooms[:-1]])
    means, spreads = EMPTY.new_empty(heads, sum(rooms), d), EMPTY.new_ones(heads, sum(rooms))
    tables = [(Tokens(k, order), means.flatten(1).numpy())]
    tables.append((Tokens(v, order), np.empty((heads, 0), np.float32)))
    found = spreads.numpy()

    def work(head: int, lo: int, hi: int) -> None:
        for tokens, made in tables:
            given = (*tokens.of(head), made[head], found[head])
            cells.average_cells(*given, sizes, firsts, lo, hi, d)

    in_cells(heads, layout, work)
    made = means.split(rooms, 1)
    for level, table in enumerate(made):
        table[:, layout.cells(level) :] = 0
    return list(zip(made, spreads.split(rooms, 1), strict=True))


def mean_queries(
    q: Float[Tensor, "b h n d"],
    order: Int64[Tensor, "b free"],
    parts: int,
    size: int,
    scale: float,
) -> Float[Tensor, "b h parts d"]:
    """Means of `parts` runs of `size` ordered queries, times `scale`."""
    made = EMPTY.new_empty(*q.shape[:2], parts, q.shape[3])
    tokens, rows = Tokens(q, order), made.flatten(0, 1).flatten(1).numpy()

    def work(head: int, lo: int, hi: int) -> None:
        cells.average_runs(
            *tokens.of(head), rows[head], np.float32(scale), size, lo, hi, q.shape[3]
        )

    in_runs(len(rows), parts, max(1, LEAST // size), work)
    return made


def tilts(
    q: Float[Tensor, "b g cells d"],
    k: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    scale: float,
    layout: Layout,
) -> Float[Tensor, "b g padded"]:
    """Score each token by the query of its coarse cell; padding scores minus infinity."""
    made = EMPTY.new_full((*k.shape[:2], layout.padded), -torch.inf)
    tokens, asked = Tokens(k, order), q.to(k.dtype).float().flatten(0, 1).flatten(1).numpy()
    rows, size, d = made.flatten(0, 1).numpy(), layout.sizes[-1], k.shape[3]

    def work(head: int, lo: int, hi: int) -> None:
        given = (*tokens.of(head), asked[head], rows[head])
        weights.score_tokens(*given, np.float32(scale), size, lo, hi, d)

    in_cells(len(rows), layout, work)
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
    d, heads, last = k.shape[3], k.shape[0] * k.shape[1], layout.first(len(layout.sizes))
    sizes = np.array(layout.sizes)
    firsts = np.array([layout.first(level) for level in range(len(sizes))])
    shares = np.empty((heads, layout.tokens), np.float32)
    totals = np.empty((heads, last - layout.padded), np.float32)
    bias, tilted = EMPTY.new_zeros(*k.shape[:2], layout.rows), tilt.flatten(0, 1).numpy()
    entropies = bias.flatten(0, 1).numpy()
    made = [room_for(x, outside, layout, x.dtype) for x in (k, v)]
    tables = [(Tokens(x, order), flat(rows)) for x, rows in zip((k, v), made, strict=True)]

    def work(head: int, lo: int, hi: int) -> None:
        found = (shares[head], totals[head])
        given = (tilted[head], *found, entropies[head], sizes, firsts)
        weights.weigh_tokens(*given, layout.tokens, lo, hi)
        here = slice(head * layout.rows * d, (head + 1) * layout.rows * d)
        for tokens, rows in tables:
            cells.lay_out(*tokens.of(head), *found, rows[here], sizes, firsts, lo, hi, d)

    in_cells(heads, layout, work)
    return made[0], made[1], bias


def put_back(
    found: Float[Tensor, "b h padded d"],
    order: Int64[Tensor, "b free"],
    out: Float[Tensor, "b h n d"],
) -> None:
    """Write what stands in order to where its tokens stand."""
    found = strided(found.to(out))
    rows, tokens, heads, across = flat(found), Tokens(out, order), found.shape[1], found.stride(2)

    def work(head: int, lo: int, hi: int) -> None:
        scene, inner = divmod(head, heads)
        first = scene * found.stride(0) + inner * found.stride(1)
        cells.put_back(rows, first, across, *tokens.of(head), lo, hi, found.shape[3])

    in_runs(len(found) * heads, order.shape[1], LEAST, work)


def soften(
    scores: Float[Tensor, "i q listed"], bias: Float[Tensor, "i 1 listed"], scale: float
) -> None:
    """Replace scores by the softmax of scale * score + bias over what is listed."""
    blocks, queries, listed = scores.shape
    given = (flat(scores), flat(bias), np.float32(scale), queries)

    def work(_: int, lo: int, hi: int) -> None:
        softmax.soften(*given, lo, hi, listed)

    in_runs(1, blocks * queries, ROWS, work)


def halved(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions by halving each segment along its own direction.

    The first steps are shared one by one, as soon as there is a segment for each thread all others
    at once: then each thread halves segments of its own to the end.
    """
    made = torch.empty(features.shape[:2], dtype=torch.int64)
    steps, threads = _steps(features.shape[1], tuple(sizes)), size()
    counts = [len(starts) for starts, _, _ in steps]
    whole = [count % threads == 0 or count >= 4 * threads for count in counts]
    first = whole.index(True) if True in whole else len(steps)
    for scene, out in zip(features.contiguous().numpy(), made.numpy(), strict=True):
        now = np.arange(len(scene)), scene.copy()
        then = np.empty_like(now[0]), np.empty_like(scene)
        for part in (*([step] for step in steps[:first]), steps[first:]):
            now, then = _halve(now, then, part)
        out[:] = now[0]
    return made


def _halve(now: Ordered, then: Ordered, steps: Sequence[Step]) -> tuple[Ordered, Ordered]:
    """Sort segments, then their halves, and so on; where they stand then, and what is free."""
    turning = TURNS, np.float32(STEEP), np.float32(TINY)

    def work(_: int, lo: int, hi: int) -> None:
        here, there = now, then
        begin, end = steps[0][0][lo], steps[0][1][hi - 1]
        for starts, ends, width in steps:
            own = slice(*np.searchsorted(starts, (begin, end)))
            segments = starts[own], ends[own]
            places = np.empty((len(segments[0]), width), np.int64)
            halving.place(here[1], *segments, places, *turning)
            places.sort(axis=1)
            halving.move(*here, *segments, places, *there)
            here, there = there, here

    if steps:
        in_runs(1, len(steps[0][0]), num_blocks(STEP, steps[0][2]), work)
    return (then, now) if len(steps) % 2 else (now, then)


@functools.lru_cache(maxsize=128)
def _steps(tokens: int, sizes: tuple[int, ...]) -> tuple[Step, ...]:
    """Of every step the first places of the segments, those behind their last, and the longest."""
    return tuple(
        (starts.copy(), ends.copy(), int((ends - starts).max()))
        for starts, ends in (np.array(step).T for step in halvings(tokens, sizes))
    )
