"""Launch the kernels of the walk; nothing waits for the host.

Tokens are read where the caller has them; what a step leaves for the next are tables of cells and
the numbers of those that are open.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, next_power
from sla_kernels.runtime.tiles import Tile, architecture_of, precision
from sla_kernels.search.walk import PART
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.launch import chunk_of, strided, strides
from sla_kernels.summary.layout import Budget, Layout
from sla_kernels.summary.weights import asked

TILE = Tile(m=16, n=64, warps=4, stages=2)  # parts are padded to the 16 rows that a product takes
ASKED = Tile(m=16, n=64, warps=8, stages=2)
MOST = 4096  # candidates that a program ranks in its registers
STEP = 8  # chunks added in a turn


class Table(NamedTuple):
    """The cells of one size."""

    means: Float[Tensor, "heads cells d"]
    spreads: Float[Tensor, "heads cells"]


class Asking(NamedTuple):
    """What `PART` queries together ask, and the log of the mass that they give to pinned tokens."""

    parts: Float[Tensor, "heads parts d"]
    pinned: Float[Tensor, "heads parts"]


def fits(q: Tensor, layout: Layout, budget: Budget, block_q: int) -> bool:
    """Whether the kernels take these sizes: powers of two, and not too many candidates."""
    levels = range(len(layout.sizes))
    powers = all(x == next_power(x) for x in (block_q, layout.sizes[0]))
    return (
        powers
        and q.dtype.itemsize <= 4
        and q.shape[3] <= 256
        and PART <= block_q <= PART * TILE.m
        and layout.sizes[0] <= chunk_of(layout.sizes) <= 128
        and all(budget.candidates(layout, level) <= MOST for level in levels)
    )


def found_rows(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    order: Int64[Tensor, "b free"],
    outside: Int64[Tensor, " pinned"],
    layout: Layout,
    budget: Budget,
    *,
    block_q: int,
    summaries: bool,
    scale: float,
) -> tuple[Int32[Tensor, "b h i listed"], Float[Tensor, "b g padded"]]:
    """Return lists of rows and tilts, as `choose_rows` does.

    Raises ValueError for more blocks than a GPU counts programs.
    """
    q, k, v = strided(q), strided(k), strided(v)
    asking = _asking(q, k, order, outside, scale)
    tables = _tables(k, v, order, layout)
    rows, left = _opened(q, k, asking, tables, layout, budget, block_q, summaries)
    parts = rearrange(asking.parts, "(b h) part d -> b h part d", b=len(q))
    return rows, _tilt(k, order, _mean_blocks(parts, block_q), left, layout)


def _asking(q: Tensor, k: Tensor, order: Tensor, outside: Tensor, scale: float) -> Asking:
    own = q.shape[2] == k.shape[2]
    queries = order.shape[1] if own else q.shape[2]
    heads, width = q.shape[0] * q.shape[1], q.shape[3]
    parts = num_blocks(queries, PART)
    shape = (heads, parts)
    asking = Asking(
        torch.empty((*shape, width), dtype=torch.float32, device=q.device),
        torch.empty(shape, dtype=torch.float32, device=q.device),
    )
    kernel = launched("search.kernels:asked_kernel")
    kernel[(num_blocks(parts, ASKED.m) * heads,)](
        q,
        k,
        order,
        outside,
        *asking,
        queries,
        outside.shape[0],
        q.shape[1],
        q.shape[1] // k.shape[1],
        *strides(q),
        *strides(k),
        scale,
        D=width,
        BLOCK_D=max(16, next_power(width)),
        PART=PART,
        PARTS=ASKED.m,
        TILE=ASKED.n,
        ORDERED=own,
        PRECISION=precision(architecture_of(q.device), k.dtype),
        num_warps=ASKED.warps,
        num_stages=ASKED.stages,
    )
    return asking


def _tables(k: Tensor, v: Tensor, order: Tensor, layout: Layout) -> list[Table]:
    """Cells of all sizes, those larger than the first from sums of chunks of tokens."""
    heads, width, chunk = k.shape[0] * k.shape[1], k.shape[3], chunk_of(layout.sizes)
    chunks = num_blocks(layout.tokens, chunk)
    tables = [
        Table(
            torch.empty((heads, layout.cells(level), width), dtype=k.dtype, device=k.device),
            torch.empty((heads, layout.cells(level)), dtype=torch.float32, device=k.device),
        )
        for level in range(len(layout.sizes))
    ]
    sums = torch.empty((heads, chunks, 2 * width + 2), dtype=torch.float32, device=k.device)
    common = {"D": width, "BLOCK_D": next_power(width), "CHUNK": chunk}
    launched("search.kernels_cells:cell_means_kernel")[(heads * chunks,)](
        k,
        v,
        order,
        *tables[0],
        sums,
        layout.tokens,
        k.shape[1],
        layout.cells(0),
        chunks,
        *strides(k),
        *strides(v),
        SIZE=layout.sizes[0],
        **common,
    )
    for level, table in enumerate(tables[1:], start=1):
        launched("search.kernels_cells:larger_means_kernel")[(heads * layout.cells(level),)](
            sums,
            *table,
            layout.tokens,
            layout.cells(level),
            chunks,
            layout.sizes[level],
            STEP=STEP,
            num_warps=1,
            **common,
        )
    return tables


def _opened(
    q: Tensor, k: Tensor, asking: Asking, tables: list[Table], layout: Layout, budget: Budget,
    block_q: int, summaries: bool,
) -> tuple[Int32[Tensor, "b h i listed"], Float[Tensor, "b h i coarse"]]:  # fmt: skip
    """Walk down from the largest cells; return lists and what is left to summaries."""
    own = q.shape[2] == k.shape[2]
    queries = layout.tokens if own else q.shape[2]
    shape = (q.shape[0], q.shape[1], num_blocks(queries, block_q))
    blocks, top = shape[0] * shape[1] * shape[2], len(layout.sizes) - 1
    if blocks >= LIMIT:
        raise ValueError(
            f"q has shape {tuple(q.shape)}; it must have fewer than {LIMIT} blocks: "
            "pass the batch in parts"
        )
    rows = torch.empty(
        (*shape, budget.listed(layout, summaries)), dtype=torch.int32, device=q.device
    )
    left = torch.empty((*shape, layout.cells(top)), dtype=torch.float32, device=q.device)
    opened = moved = rows  # of a size above the largest, and before the smallest: not read
    at = layout.pinned
    width = q.shape[3]
    for level in range(top, -1, -1):
        candidates, chosen = budget.candidates(layout, level), budget.chosen(layout, level)
        before = opened
        opened = torch.empty((*shape, chosen), dtype=torch.int32, device=q.device)
        if level == 0:
            moved = torch.empty((*shape, chosen), dtype=torch.float32, device=q.device)
        launched("search.kernels:open_cells_kernel")[(blocks,)](
            *asking,
            *tables[level],
            before,
            opened,
            moved,
            rows,
            left,
            shape[2],
            q.shape[1] // k.shape[1],
            queries,
            layout.cells(level),
            layout.sizes[level],
            layout.tokens,
            candidates,
            1 if level == top else before.shape[3],
            1 if level == top else layout.fanout(level + 1),
            chosen,
            rows.shape[3],
            at,
            rows.shape[3] - budget.chosen(layout, 0) * layout.sizes[0],
            layout.first(level),
            layout.nothing,
            layout.first(top + 1),
            layout.pinned,
            layout.cells(top),
            layout.sizes[top] // layout.sizes[0],
            D=width,
            BLOCK_D=max(16, next_power(width)),
            PART=PART,
            OF_BLOCK=block_q // PART,
            PARTS=TILE.m,
            TILES=next_power(num_blocks(candidates, TILE.n)),
            TILE=TILE.n,
            SIZE=layout.sizes[0],
            TOP=level == top,
            LAST=level == 0,
            SUMMARIES=summaries,
            PRECISION=precision(architecture_of(q.device), k.dtype),
            num_warps=TILE.warps,
            num_stages=TILE.stages,
        )
        at += candidates - chosen if summaries else 0
    return rows, left


def _mean_blocks(parts: Float[Tensor, "b h parts d"], block_q: int) -> Float[Tensor, "b h i d"]:
    """What whole blocks ask; parts without queries count as zero, as they do elsewhere."""
    each = block_q // PART
    missing = -parts.shape[2] % each
    if missing:
        parts = torch.nn.functional.pad(parts, (0, 0, 0, missing))
    return rearrange(parts, "b h (i part) d -> b h i part d", part=each).mean(3)


def _tilt(
    k: Tensor, order: Tensor, blocks: Tensor, left: Tensor, layout: Layout
) -> Float[Tensor, "b g padded"]:
    """Logits of the weights of tokens within cells; `blocks` are mean queries times the scale."""
    wanted = asked(left, blocks, blocks.shape[1] // k.shape[1]).contiguous()
    tilt = torch.empty((*k.shape[:2], layout.padded), dtype=torch.float32, device=k.device)
    chunk, width = chunk_of(layout.sizes), k.shape[3]
    chunks = num_blocks(layout.padded, chunk)
    launched("search.kernels_cells:tilt_kernel")[(k.shape[0] * k.shape[1] * chunks,)](
        k,
        order,
        wanted,
        tilt,
        layout.tokens,
        layout.padded,
        k.shape[1],
        layout.cells(len(layout.sizes) - 1),
        chunks,
        layout.sizes[-1],
        *strides(k),
        D=width,
        BLOCK_D=next_power(width),
        CHUNK=chunk,
    )
    return tilt
