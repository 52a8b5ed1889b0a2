"""Launch the kernels of cells that are only looked at; nothing waits for the host.

Tokens are read where the caller has them, by an order.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import next_power
from sla_kernels.runtime.tiles import Tile, architecture_of, precision
from sla_kernels.search.walk import PART
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.launch import chunk_of, chunk_warps, strides
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.weights import LEAST_MASS

WANTED = Tile(m=32, n=16, warps=4, stages=1)  # cells, and blocks
STEP = 8  # chunks added in a turn


class Table(NamedTuple):
    """The cells of one size."""

    means: Float[Tensor, "heads cells d"]
    spreads: Float[Tensor, "heads cells"]


class PartMeans(NamedTuple):
    """What `PART` queries together ask, and the log of the mass that they give to pinned tokens."""

    parts: Float[Tensor, "heads parts d"]
    pinned: Float[Tensor, "heads parts"]


def tables_of(k: Tensor, v: Tensor, order: Tensor, layout: Layout) -> list[Table]:
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
        num_warps=means_warps(width),
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


def means_warps(width: int) -> int:
    """Of a program that sums a chunk of keys and values: more where wider rows fill registers."""
    return max(4, chunk_warps(width))


def wanted(
    q: Tensor, k: Tensor, asking: PartMeans, left: Tensor, layout: Layout, block_q: int
) -> Float[Tensor, "b g coarse d"]:
    """The mean query, times the scale, of those who leave mass to each coarse cell: `asked`."""
    coarse, width = left.shape[3], q.shape[3]
    found = torch.empty((*k.shape[:2], coarse, width), dtype=torch.float32, device=k.device)
    programs = k.shape[0] * k.shape[1] * num_blocks(coarse, WANTED.m)
    launched("search.kernels_cells:wanted_kernel")[(programs,)](
        asking.parts,
        left,
        found,
        layout.tokens if q.shape[2] == k.shape[2] else q.shape[2],
        left.shape[2],
        q.shape[1] // k.shape[1],
        coarse,
        LEAST=LEAST_MASS,
        D=width,
        BLOCK_D=max(16, next_power(width)),
        PART=PART,
        OF_BLOCK=block_q // PART,
        BLOCKS=WANTED.n,
        TILE=WANTED.m,
        PRECISION=precision(architecture_of(k.device), torch.float32),
        num_warps=WANTED.warps,
        num_stages=WANTED.stages,
    )
    return found


def tilt_of(k: Tensor, order: Tensor, asked: Tensor, layout: Layout) -> Float[Tensor, "b g padded"]:
    """Logits of the weights of tokens within cells, by what is asked of their coarse cell."""
    tilt = torch.empty((*k.shape[:2], layout.padded), dtype=torch.float32, device=k.device)
    chunk, width = chunk_of(layout.sizes), k.shape[3]
    chunks = num_blocks(layout.padded, chunk)
    launched("search.kernels_cells:tilt_kernel")[(k.shape[0] * k.shape[1] * chunks,)](
        k,
        order,
        asked,
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
