"""The passes as functions of tensors."""

import functools

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.order.median import STEEP, TINY, TURNS
from sla_kernels.order.plan import halvings
from sla_kernels.passes import cells, finding, halving
from sla_kernels.passes.attention import blocks, lanes
from sla_kernels.passes.finding import Asking, Cells, Lists
from sla_kernels.passes.tokens import Tokens, flat
from sla_kernels.runtime.team import is_whole
from sla_kernels.runtime.team import size as size_of_team
from sla_kernels.search.walk import part_of
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import Budget, Layout
from sla_kernels.summary.rows import Rows, room_for
from sla_kernels.summary.weights import DEEPEST, LEAST_MASS

__all__ = [
    "attend",
    "attend_all",
    "attends",
    "found_rows",
    "halved",
    "is_whole",
    "laid_out",
    "put_back",
    "put_in_order",
]
EMPTY = torch.empty(0, dtype=torch.float32, device="cpu")  # whatever PyTorch makes unless told
QUERIES = 64  # in a block where all attend the same
_TURNING = TURNS, np.float32(STEEP), np.float32(TINY)


def found_rows(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    orders: tuple[Int64[Tensor, "b queries"], Int64[Tensor, "b free"]],
    outside: Int64[Tensor, " pinned"],
    layout: Layout,
    budget: Budget,
    *,
    block_q: int,
    summaries: bool,
    scale: float,
) -> tuple[Int32[Tensor, "b h i listed"], Float[Tensor, "b g padded"]]:
    """Lists of rows, and tilts; `orders` are those of queries and of keys."""
    of_queries, of_keys = orders
    blocks = num_blocks(of_queries.shape[1], block_q)
    listed = budget.listed(layout, summaries)
    rows = torch.empty((*q.shape[:2], blocks, listed), dtype=torch.int32, device="cpu")
    tilts = EMPTY.new_full((*k.shape[:2], layout.padded), -torch.inf)
    finding.find(
        (Tokens.of(k, of_keys), Tokens.of(v, of_keys)),
        Tokens.of(q, of_queries),
        _asking(q, of_queries.shape[1], k.index_select(2, outside), block_q),
        _cells(k, layout),
        _steps_down(layout, budget),
        _lists(rows.flatten(0, 2), layout, summaries),
        tilts.flatten(0, 1).numpy(),
        np.float32(scale),
        (np.float32(LEAST_MASS), np.float32(DEEPEST)),
        size_of_team(),
    )
    return rows, tilts


def _asking(q: Tensor, queries: int, pinned: Tensor, block_q: int) -> Asking:
    """Room for the means of parts, and the pinned keys."""
    length, blocks, heads = part_of(block_q), num_blocks(queries, block_q), q.shape[0] * q.shape[1]
    each = block_q // length
    parts = EMPTY.new_empty(heads, blocks * each, q.shape[3]).numpy()
    means = EMPTY.new_empty(heads * blocks, q.shape[3]).numpy()
    keys = pinned.float().flatten(0, 1).contiguous().numpy()
    return Asking(parts, means, queries, length, each, keys)


def _lists(rows: Tensor, layout: Layout, summaries: bool) -> Lists:
    """Room for what blocks leave, and where rows stand."""
    top = len(layout.sizes) - 1
    left = EMPTY.new_empty(len(rows), layout.cells(top)).numpy()
    coarse = layout.sizes[top] // layout.sizes[0]
    places = layout.pinned, layout.first(top + 1), layout.tokens, layout.nothing
    return Lists(rows.numpy(), left, *places, coarse, summaries)


def _cells(k: Tensor, layout: Layout) -> Cells:
    """Room for the cells of all sizes; keys of those that do not exist are zero."""
    sizes, firsts, logs = _counted(layout)
    heads, room = k.shape[0] * k.shape[1], len(logs)
    keys = EMPTY.new_zeros(heads, room * k.shape[3]).numpy()
    return Cells(sizes, firsts, keys, logs, EMPTY.new_ones(heads, room).numpy())


@functools.lru_cache(maxsize=128)
def _counted(layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, where the cells of each begin, and the logs of how many tokens each holds."""
    logs = np.full(sum(layout.rooms), -np.inf, np.float32)
    firsts = np.cumsum([0, *layout.rooms[:-1]])
    for level, (first, length) in enumerate(zip(firsts, layout.sizes, strict=True)):
        held = layout.tokens - np.arange(layout.cells(level)) * length
        logs[first : first + len(held)] = np.log(np.minimum(held, length).astype(np.float32))
    return np.array(layout.sizes), firsts, logs


@functools.lru_cache(maxsize=128)
def _steps_down(layout: Layout, budget: Budget) -> np.ndarray:
    """The steps from the coarsest cells to exact blocks, as `passes.finding.find` takes them."""
    _, at, _ = _counted(layout)
    levels = reversed(range(len(layout.sizes)))
    return np.array([
        (at[i], layout.first(i), layout.cells(i), budget.chosen[i], layout.fanout(i))
        for i in levels
    ])  # fmt: skip


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
    cells.lay_out(*given, k.shape[3], size_of_team())
    return keys, values, bias


def put_in_order(
    x: Float[Tensor, "b h n d"], order: Int64[Tensor, "b free"], size: int
) -> Float[Tensor, "b h padded d"]:
    """Tokens in order, padded with zeros to whole runs of `size`."""
    padded = num_blocks(order.shape[1], size) * size
    made = torch.empty((*x.shape[:2], padded, x.shape[3]), dtype=x.dtype, device="cpu")
    rows = flat(made).reshape(x.shape[0] * x.shape[1], -1)
    cells.put_in_order(Tokens.of(x, order), rows, x.shape[3], size_of_team())
    return made


def put_back(
    found: Float[Tensor, "b h padded d"],
    order: Int64[Tensor, "b free"],
    out: Float[Tensor, "b h n d"],
) -> None:
    """Write what stands in order to where its tokens stand."""
    rows = Tokens.of(found.to(out), order)
    given = rows.numbers, rows.starts, rows.step, Tokens.of(out, order)
    cells.put_back(*given, found.shape[3], size_of_team())


def attends(x: Float[Tensor, "b h n d"], block_q: int = QUERIES) -> bool:
    """Whether such queries attend in passes: this processor multiplies them as passes do.

    Blocks that fill less than half of what is multiplied at a time are left to PyTorch's products.
    """
    if 2 * block_q < lanes.STRIP:
        return False
    if x.dtype == torch.bfloat16:
        return lanes.MULTIPLIES_BFLOAT16 and x.shape[3] % 2 == 0
    return lanes.MULTIPLIES_FLOAT32


def attend(
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    lists: Int32[Tensor, "b h i listed"],
    orders: tuple[Int64[Tensor, "b few"], Int64[Tensor, "b many"]],
    layout: Layout,
    block_q: int,
    scale: float,
    out: Float[Tensor, "b h n d"],
) -> None:
    """Write what queries find in rows where they stand.

    Of the `orders` of queries the first, few, attend all tokens, the others in blocks their lists.
    """
    of_blocks = lists.flatten(0, 2).contiguous().numpy()
    first = orders[0].contiguous().numpy()
    asked, found = Tokens.of(q, orders[1]), Tokens.of(out, orders[1])
    many = blocks.Asked(asked, found, of_blocks)
    asked, found = (x._replace(orders=first) for x in (asked, found))
    few = blocks.Asked(asked, found, _all_tokens(layout))
    keys, values = (Tokens.of(x, orders[0]) for x in (rows.keys, rows.values))
    table = blocks.Table(keys, values, rows.bias.flatten(0, 1).numpy())
    blocks.attend(few, many, table, block_q, q.shape[3], np.float32(scale), size_of_team())


@functools.lru_cache(maxsize=8)
def _all_tokens(layout: Layout) -> np.ndarray:
    """One list of the rows of all tokens."""
    pinned = np.arange(layout.first(len(layout.sizes)), layout.nothing)
    return np.concatenate([np.arange(layout.tokens), pinned]).astype(np.int32)[None]


def attend_all(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    scale: float,
) -> Float[Tensor, "b h n d"]:
    """What queries find in all keys; it lies token by token."""
    b, h, n, d = q.shape
    out = rearrange(torch.empty((b, n, h, d), dtype=q.dtype, device="cpu"), "b n h d -> b h n d")
    order = torch.arange(n, device="cpu").expand(b, n).contiguous()
    all_keys = np.arange(k.shape[2], dtype=np.int32)[None]
    none, many = (
        blocks.Asked(Tokens.of(q, asked), Tokens.of(out, asked), all_keys)
        for asked in (order[:, :0], order)
    )
    keys, values = Tokens.of(k, order), Tokens.of(v, order)
    table = blocks.Table(keys, values, np.zeros((1, k.shape[2]), np.float32))
    blocks.attend(none, many, table, QUERIES, d, np.float32(scale), size_of_team())
    return out


def halved(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions by halving each segment along its own direction."""
    made = torch.empty(features.shape[:2], dtype=torch.int64, device="cpu")
    for scene, out in zip(features.contiguous().numpy(), made.numpy(), strict=True):
        out[:] = _halved(scene, tuple(sizes))
    return made


def _halved(features: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    count, threads = len(features), size_of_team()
    now, step = (
        (np.arange(count), features),
        (np.array([0]), np.array([count]), np.arange(count)[None]),
    )
    free = [(np.empty_like(now[0]), np.empty_like(features)) for _ in range(2)]
    for starts, ends, width in _steps(count, sizes):
        after = starts, ends, np.empty((len(starts), width), np.int64)
        halving.halve(now, free[0], step, after, _TURNING, threads)
        after[2].sort(axis=1)  # NumPy's takes a tenth of what a compiled one would
        now, step, free = free[0], after, free[::-1]
    return now[0]


@functools.lru_cache(maxsize=128)
def _steps(tokens: int, sizes: tuple[int, ...]) -> tuple[tuple[np.ndarray, np.ndarray, int], ...]:
    """Of every step the first places of the segments, those behind their last, and the longest.

    The last step has no segments: tokens are only moved.
    """
    made = [np.array(step).T for step in halvings(tokens, sizes)]
    steps = [(starts.copy(), ends.copy(), int((ends - starts).max())) for starts, ends in made]
    none = np.empty(0, np.int64)
    return (*steps, (none, none, 1))
