"""Launch the kernels of the walk; nothing waits for the host.

Tokens are read where the caller has them; what a step leaves for the next are tables of cells and
the numbers of those that are open.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, next_power, strided
from sla_kernels.runtime.tiles import Tile, architecture_of, precision
from sla_kernels.search.launch_cells import PartMeans, Table, tables_of, tilt_of, wanted
from sla_kernels.search.walk import PART
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.launch import chunk_of, strides
from sla_kernels.summary.layout import Budget, Layout

LARGEST = Tile(m=64, n=64, warps=4, stages=3)  # parts of some blocks, and cells
ROW = 256  # bytes that a float32 key counts at least: its products in three parts fill registers
PARTS = 16  # rows that a product takes; those of one block are padded to them
TURN = 8 << 10  # bytes of keys that it reads at a time
LONG, SHORTER = 1024, 64  # candidates from which on it reads fewer keys at a time
SCORED = 2048  # candidates below the largest size, whose scores a program holds
ASKED = Tile(m=16, n=64, warps=8, stages=2)
MOST = 4096  # candidates that a program ranks in its registers
WIDEST = 128  # numbers of a head: wider ones do not fit the shared memory of every GPU


def fits(q: Tensor, layout: Layout, budget: Budget, block_q: int) -> bool:
    """Whether the kernels take these sizes: powers of two, not too wide, not too many."""
    levels = range(len(layout.sizes))
    powers = all(x == next_power(x) for x in (block_q, layout.sizes[0]))
    return (
        powers
        and q.dtype.itemsize <= 4
        and q.shape[3] <= WIDEST
        and PART <= block_q <= PART * PARTS
        and layout.sizes[0] <= chunk_of(layout.sizes) <= 128
        and all(
            lanes(budget.chosen[level + 1], layout.fanout(level + 1)) <= scored(block_q)
            for level in levels[:-1]
        )
        and budget.candidates[levels[-1]] <= MOST
    )


def scored(block_q: int) -> int:
    """Of how many candidates a program holds the scores.

    Those of more in full rows spill, and fill more shared memory than some GPUs have.
    """
    return SCORED if block_q < PARTS * PART else LONG


def run_of(fanout: int) -> int:
    """Numbers that a program has for the cells that a larger one holds."""
    return int(next_power(fanout))


def lanes(parents: int, fanout: int) -> int:
    """Numbers that a program has for all its candidates."""
    return max(16, next_power(parents) * run_of(fanout))


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
    order, outside = order.contiguous(), outside.contiguous()
    asking = _asking(q, k, order, outside, scale)
    tables = tables_of(k, v, order, layout)
    rows, left = _opened(q, k, asking, tables, layout, budget, block_q, summaries)
    return rows, tilt_of(k, order, wanted(q, k, asking, left, layout, block_q), layout)


def _asking(q: Tensor, k: Tensor, order: Tensor, outside: Tensor, scale: float) -> PartMeans:
    own = q.shape[2] == k.shape[2]
    queries = order.shape[1] if own else q.shape[2]
    heads, width = q.shape[0] * q.shape[1], q.shape[3]
    parts = num_blocks(queries, PART)
    shape = (heads, parts)
    asking = PartMeans(
        torch.empty((*shape, width), dtype=torch.float32, device=q.device),
        torch.empty(shape, dtype=torch.float32, device=q.device),
    )
    kernel = launched("search.kernels_asked:asked_kernel")
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


def _opened(
    q: Tensor, k: Tensor, asking: PartMeans, tables: list[Table], layout: Layout, budget: Budget,
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
    opened = gone = rows  # of a size above the largest, and before the smallest: not read
    at = layout.pinned
    width = q.shape[3]
    row = row_bytes(k.dtype, width)
    _score_largest(q, k, asking, tables[top], layout, left, block_q)
    for level in range(top, -1, -1):
        candidates, chosen = budget.candidates[level], budget.chosen[level]
        before, fanout = opened, 1 if level == top else layout.fanout(level + 1)
        parents = candidates // fanout
        opened = torch.empty((*shape, chosen), dtype=torch.int32, device=q.device)
        if level == 0:
            gone = torch.empty(before.shape, dtype=torch.float32, device=q.device)
        launched("search.kernels:open_cells_kernel")[(blocks,)](
            *asking,
            *tables[level],
            before,
            opened,
            gone,
            rows,
            left,
            shape[2],
            q.shape[1] // k.shape[1],
            queries,
            layout.cells(level),
            layout.sizes[level],
            layout.tokens,
            parents,
            fanout,
            chosen,
            rows.shape[3],
            at,
            rows.shape[3] - budget.chosen[0] * layout.sizes[0],
            layout.first(level),
            layout.nothing,
            layout.first(top + 1),
            layout.pinned,
            layout.cells(top),
            D=width,
            BLOCK_D=max(16, next_power(width)),
            PART=PART,
            OF_BLOCK=block_q // PART,
            PARTS=PARTS,
            **walking(parents, fanout, block_q, row, top=level == top),
            STEP=LARGEST.n,
            SIZE=layout.sizes[0],
            HELD=layout.sizes[top] // layout.sizes[min(level + 1, top)],
            TOP=level == top,
            LAST=level == 0,
            SUMMARIES=summaries,
            PRECISION=precision(architecture_of(q.device), k.dtype),
        )
        at += candidates - chosen if summaries else 0
    return rows, left


def _score_largest(
    q: Tensor,
    k: Tensor,
    asking: PartMeans,
    table: Table,
    layout: Layout,
    left: Tensor,
    block_q: int,
) -> None:
    """Write into `left` the mass that each block gives each cell of the largest size."""
    blocks, top = left.shape[2], len(layout.sizes) - 1
    tile = scoring(k.dtype, q.shape[3])
    programs = num_blocks(blocks, tile.m * PART // block_q) * left.shape[0] * left.shape[1]
    launched("search.kernels_asked:largest_cells_kernel")[(programs,)](
        *asking,
        table.means,
        left,
        blocks,
        q.shape[1] // k.shape[1],
        layout.tokens if q.shape[2] == k.shape[2] else q.shape[2],
        layout.cells(top),
        layout.sizes[top],
        layout.tokens,
        D=q.shape[3],
        BLOCK_D=max(16, next_power(q.shape[3])),
        PART=PART,
        OF_BLOCK=block_q // PART,
        PARTS=tile.m,
        TILE=tile.n,
        PRECISION=precision(architecture_of(q.device), k.dtype),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def scoring(dtype: torch.dtype, width: int) -> Tile:
    """The tile of the kernel that scores the largest cells: in float32 keys fill registers."""
    if dtype != torch.float32:
        return LARGEST
    if width <= 32:
        return replace(LARGEST, stages=2)
    return replace(LARGEST, n=32 if width <= 64 else 16, warps=8, stages=2)


def row_bytes(dtype: torch.dtype, width: int) -> int:
    """Bytes of a key, by which a program of the walk takes keys in tiles."""
    own = dtype.itemsize * next_power(width)
    return max(own, ROW) if dtype == torch.float32 else own


def walking(parents: int, fanout: int, block_q: int, row: int, *, top: bool) -> dict[str, int]:
    """What is compiled into a program of the walk: how it holds what its parents hold.

    Those of the largest size are ranked alone, by as few warps as hold them; of the others it takes
    a tile's keys at a time, of `row` bytes each.
    """
    width = lanes(parents, fanout)
    alone = Tile(m=PARTS, n=width, warps=max(1, width // 512), stages=1)
    tile = alone if top else taken(width, row)
    return {
        "RUN": run_of(fanout),
        "ROWS": next_power(block_q // PART),
        "TILES": width // tile.n,
        "TILE": tile.n,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def taken(width: int, row: int) -> Tile:
    """The keys that a program of so many candidates takes at a time; each warp fills registers."""
    if row > ROW:
        return Tile(m=PARTS, n=min(width, 32), warps=8, stages=1)
    keys = min(TURN // row, SHORTER if width > LONG else width)
    warps, stages = min(16, 4 * max(1, width // 512)), 2 if row == ROW else 3
    return Tile(m=PARTS, n=max(16, keys), warps=warps, stages=stages)
