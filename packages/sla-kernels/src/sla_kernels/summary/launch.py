"""Launch the Triton kernels of listed rows; nothing waits for the host.

Queries are read, and outputs written, where the caller has them.

The gradients of rows are sums over all lists that name them. Tiles of queries write the share of
every entry of their lists into a buffer, as many tiles at a time as it holds; the entries' row
numbers are sorted, and a second kernel adds up each row's entries in that order. So nothing is
added by atomics, and every run gives the same bits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int, Int32, Int64
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, grid, next_power, strided
from sla_kernels.runtime.tiles import Tile, architecture_of, precision, tiles_of
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.rows import ABSENT, Rows

LOG2_E = 1.4426950408889634
BUFFER_BYTES = 256 << 20  # of entries' gradients at a time
STEP = 8  # entries, or chunks, added in a turn
CHUNK = 64  # tokens whose cells one program sums
PER_WARP = 16  # columns of a chunk: by compiling, the most that spill no register


class _Chunk(NamedTuple):
    """Tiles of queries, counted through all heads, and the key heads that they reach."""

    tiles: slice
    heads: slice


def lays_out(sizes: tuple[int, ...]) -> bool:
    """Whether `rows_of` takes these sizes of cells: the first a power of two, not too large."""
    return sizes[0] == next_power(sizes[0]) and sizes[0] <= chunk_of(sizes) <= 2 * CHUNK


def chunk_of(sizes: tuple[int, ...]) -> int:
    """How many tokens one program sums: a power of two that divides every size but the first."""
    return sizes[0] if len(sizes) == 1 else min(CHUNK, sizes[1] & -sizes[1])


def chunk_warps(width: int) -> int:
    """Of a program that lays out a chunk of tokens."""
    return min(16, max(1, next_power(width) // PER_WARP))


def rows_of(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    outside: Int64[Tensor, " pinned"],
    tilt: Float[Tensor, "b g padded"],
    layout: Layout,
) -> Rows:
    """Lay out all rows, as `summary.rows` does; keys and values in their own type."""
    k, v, order, outside = strided(k), strided(v), order.contiguous(), outside.contiguous()
    shape, width = (*k.shape[:2], layout.rows), k.shape[3]
    rows = Rows(
        torch.empty((*shape, width), dtype=k.dtype, device=k.device),
        torch.empty((*shape, width), dtype=v.dtype, device=k.device),
        torch.empty(shape, dtype=torch.float32, device=k.device),
    )
    heads, chunk = shape[0] * shape[1], chunk_of(layout.sizes)
    chunks, last = num_blocks(layout.padded, chunk), layout.first(len(layout.sizes))
    sums = torch.empty((heads, chunks, 2 * width + 3), dtype=torch.float32, device=k.device)
    common = {"D": width, "BLOCK_D": next_power(width), "CHUNK": chunk}
    programs = heads * (chunks + num_blocks(layout.pinned + 1, chunk))
    launched("summary.kernels_rows:rows_kernel")[(programs,)](
        k,
        v,
        order,
        outside,
        tilt.contiguous(),
        *rows,
        sums,
        layout.tokens,
        layout.padded,
        layout.pinned,
        k.shape[1],
        layout.cells(0),
        chunks,
        layout.rows,
        last,
        *strides(k),
        *strides(v),
        ABSENT,
        SIZE=layout.sizes[0],
        num_warps=chunk_warps(width),
        **common,
    )
    for level in range(1, len(layout.sizes)):
        launched("summary.kernels_rows:larger_rows_kernel")[(heads * layout.cells(level),)](
            sums,
            *rows,
            layout.cells(level),
            chunks,
            layout.rows,
            layout.first(level),
            layout.sizes[level],
            STEP=STEP,
            num_warps=1,
            **common,
        )
    return rows


def summary_attention_forward(
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    lists: Int[Tensor, "b h i r"],
    block_q: int,
    scale: float,
    order: Int64[Tensor, "b free"] | None = None,
) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h free"]]:
    """Return the output, and the log-sum-exp of ordered queries in powers of two.

    - `order`: where the ordered queries stand in q; all others get no output. None: q is ordered.
    """
    q, lists, rows = strided(q), lists.contiguous(), _contiguous(rows)
    queries = q.shape[2] if order is None else order.shape[1]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((*q.shape[:2], queries), dtype=torch.float32, device=q.device)
    tile = tiles_of(architecture_of(q.device), q.dtype, q.shape[3]).rows_forward.of_queries(block_q)
    kernel = launched("summary.kernels:summary_attention_forward_kernel")
    kernel[grid(num_blocks(queries, tile.m), q)](
        q,
        *rows,
        lists,
        lists if order is None else order.contiguous(),
        out,
        lse,
        queries,
        *_sizes(q, rows, lists)[1:],
        scale * LOG2_E,
        q.shape[1],
        q.shape[2],
        *strides(q),
        ORDERED=order is not None,
        **_constants(q, block_q, tile),
    )
    return out, lse


def summary_attention_backward(
    grad: Float[Tensor, "b h n d"],
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    out: Float[Tensor, "b h n d"],
    lse: Float[Tensor, "b h n"],
    lists: Int[Tensor, "b h i r"],
    block_q: int,
    scale: float,
) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b g m d"], Float[Tensor, "b g m d"]]:
    """Return the gradients of the queries, and in float32 of the rows' keys and values."""
    grad, q, out, lse, lists = (x.contiguous() for x in (grad, q, out, lse, lists))
    rows = _contiguous(rows)
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    d_rows = [torch.zeros(rows.keys.shape, dtype=torch.float32, device=q.device) for _ in range(2)]
    tiles = tiles_of(architecture_of(q.device), q.dtype, q.shape[3])
    tile = tiles.rows_backward.of_queries(block_q)
    entries: list[Tensor] = []
    for chunk in _chunks(q, rows, lists, tile):
        count = chunk.tiles.stop - chunk.tiles.start
        if not entries:  # the first chunk is the largest
            shape = (2, count * lists.shape[3], q.shape[3])
            entries = [*torch.empty(shape, dtype=torch.float32, device=q.device)]
        kernel = launched("summary.kernels:summary_attention_backward_kernel")
        kernel[(count,)](
            grad,
            q,
            *rows,
            lists,
            out,
            lse,
            dq,
            *entries,
            *_sizes(q, rows, lists),
            chunk.tiles.start,
            scale,
            scale * LOG2_E,
            **_constants(q, block_q, tile),
        )
        numbers = _numbers(q, rows, lists, chunk, block_q, tile)
        _add_up(entries, numbers, [_heads(x, chunk) for x in d_rows])
    return dq, d_rows[0], d_rows[1]


def _chunks(q: Tensor, rows: Rows, lists: Tensor, tile: Tile) -> Iterator[_Chunk]:
    """Runs of tiles whose entries fit the buffer."""
    of_head = num_blocks(q.shape[2], tile.m)
    group = q.shape[1] // rows.keys.shape[1]
    total = grid(of_head, q)[0]
    step = max(1, BUFFER_BYTES // (2 * 4 * lists.shape[3] * q.shape[3]))
    for start in range(0, total, step):
        end = min(start + step, total)
        heads = slice(start // of_head // group, (end - 1) // of_head // group + 1)
        if (heads.stop - heads.start) * rows.keys.shape[2] >= LIMIT:
            raise ValueError(
                f"rows of shape {tuple(rows.keys.shape)}; the kernels count fewer than {LIMIT} of "
                "the heads that share a buffer: pass fewer tokens"
            )
        yield _Chunk(slice(start, end), heads)


def _numbers(
    q: Tensor, rows: Rows, lists: Tensor, chunk: _Chunk, block_q: int, tile: Tile
) -> Int32[Tensor, " entries"]:
    """The row of each entry of a chunk, counted from the first row of its first key head."""
    of_head, group = num_blocks(q.shape[2], tile.m), q.shape[1] // rows.keys.shape[1]
    tiles = torch.arange(chunk.tiles.start, chunk.tiles.stop, device=q.device)
    head = tiles // of_head
    blocks = head * lists.shape[2] + tiles % of_head * tile.m // block_q
    found = rearrange(lists, "b h i r -> (b h i) r").index_select(0, blocks)
    first = (head // group - chunk.heads.start) * rows.keys.shape[2]
    return rearrange(found + first[:, None].int(), "t r -> (t r)")


def _add_up(entries: list[Tensor], numbers: Int32[Tensor, " entries"], into: list[Tensor]) -> None:
    """Add the gradients of entries to those of their rows (heads, rows, d)."""
    heads, rows, width = into[0].shape
    places, offsets = turned_round(numbers, heads * rows)
    kernel = launched("summary.kernels:summary_attention_sum_kernel")
    kernel[(heads * rows,)](
        *entries,
        places,
        offsets,
        *into,
        rows,
        D=width,
        BLOCK_D=next_power(width),
        STEP=STEP,
        num_warps=1,
    )


def turned_round(
    numbers: Int32[Tensor, " entries"], rows: int
) -> tuple[Int64[Tensor, " entries"], Int32[Tensor, " rows_and_one"]]:
    """The entries of each row, ascending, one row after another; and where each row's start."""
    ordered, places = numbers.sort(stable=True)
    edges = torch.arange(rows + 1, dtype=torch.int32, device=numbers.device)
    return places, torch.searchsorted(ordered, edges, out_int32=True)


def _heads(x: Float[Tensor, "b g m d"], chunk: _Chunk) -> Float[Tensor, "heads m d"]:
    """A view of a chunk's key heads."""
    return x.flatten(0, 1)[chunk.heads]


def strides(x: Float[Tensor, "b h n d"]) -> tuple[int, int, int]:
    """How far scenes, heads and tokens lie apart."""
    return x.stride(0), x.stride(1), x.stride(2)


def _contiguous(rows: Rows) -> Rows:
    return Rows(*(x.contiguous() for x in rows))


def _sizes(q: Tensor, rows: Rows, lists: Tensor) -> tuple[int, ...]:
    """The lengths that a kernel takes: n, rows, group, listed, query_blocks."""
    group = q.shape[1] // rows.keys.shape[1]
    return q.shape[2], rows.keys.shape[2], group, lists.shape[3], lists.shape[2]


def _constants(q: Tensor, block_q: int, tile: Tile) -> dict[str, int | str]:
    """What is compiled into a kernel."""
    return {
        "D": q.shape[3],
        "BLOCK_D": next_power(q.shape[3]),
        "BLOCK_Q": block_q,
        "TILE_M": tile.m,
        "TILE_N": tile.n,
        "PRECISION": precision(architecture_of(q.device), q.dtype),
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
