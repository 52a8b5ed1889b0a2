"""Launch the Triton kernels of the sparse branch: three of them, and never a wait for the host."""

import torch
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, grid, next_power, within_reach
from sla_kernels.runtime.tiles import Tile, architecture_of, precision, tiles_of
from sla_kernels.select.blocks import num_blocks
from sla_kernels.select.columns import columns_of
from sla_kernels.select.lists import BlockLists

LOG2_E = 1.4426950408889634


def sparse_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: BlockLists, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the output and the log-sum-exp of every query, in units of the natural logarithm."""
    q, k, v = (within_reach(x) for x in (q, k, v))
    lists = lists.side_by_side()
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    tile = tiles_of(architecture_of(q.device), q.dtype, q.shape[3]).forward.within(lists.block)
    kernel = launched("sparse.kernels:sparse_attention_forward_kernel")
    kernel[grid(num_blocks(q.shape[2], tile.m), q)](
        q,
        k,
        v,
        out,
        lse,
        lists.indices,
        lists.counts,
        *q.stride(),
        *k.stride(),
        *v.stride(),
        *_sizes(q, k, lists),
        scale * LOG2_E,
        **_constants(q, lists, tile),
    )
    return out, lse


def sparse_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    lists: BlockLists,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v; the same bits on every run."""
    grad, q, k, v, out = (within_reach(x) for x in (grad, q, k, v, out))
    lists = lists.side_by_side()
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    lse, delta = lse.contiguous(), torch.empty(lse.shape, dtype=lse.dtype, device=lse.device)
    tiles = tiles_of(architecture_of(q.device), q.dtype, q.shape[3])
    tile = tiles.backward_q.within(lists.block)
    strides = [step for x in (grad, q, k, v) for step in x.stride()]
    kernel = launched("sparse.kernels_backward:sparse_attention_backward_q_kernel")
    kernel[grid(num_blocks(q.shape[2], tile.m), q)](
        grad,
        q,
        k,
        v,
        out,
        lse,
        delta,
        dq,
        lists.indices,
        lists.counts,
        *strides,
        *out.stride(),
        *_sizes(q, k, lists),
        scale,
        scale * LOG2_E,
        PART=columns_at_once(architecture_of(q.device), q.dtype, q.shape[3]),
        **_constants(q, lists, tile),
    )
    tile = tiles.backward_kv.within(lists.block)
    key_blocks = num_blocks(k.shape[2] - lists.pinned, lists.block_k)
    entries = lists.indices.shape[2] * lists.indices.shape[3] * (lists.block_q // tile.m)
    if entries >= LIMIT:
        raise ValueError(
            f"block={lists.block} makes columns of {entries} tiles; the kernels count fewer than "
            f"{LIMIT}: choose larger blocks"
        )
    columns = columns_of(lists.indices, key_blocks, k.shape[1])
    programs = key_blocks * (lists.block_k // tile.n) + num_blocks(lists.pinned, tile.n)
    kernel = launched("sparse.kernels_backward:sparse_attention_backward_kv_kernel")
    kernel[grid(programs, k)](
        grad,
        q,
        k,
        v,
        lse,
        delta,
        dk,
        dv,
        columns.offsets,
        columns.rows,
        columns.order,
        *strides,
        *_sizes(q, k, lists),
        key_blocks,
        scale,
        scale * LOG2_E,
        **_constants(q, lists, tile),
    )
    return dq, dk, dv


def columns_at_once(architecture: str, dtype: torch.dtype, width: int) -> int:
    """How many columns of queries a product of the gradient of q takes: all, or what fits.

    Wide heads in float32 are three TF32 parts on NVIDIA. Of 32 columns some targets spill.
    """
    wide = dtype == torch.float32 and width > 64 and architecture.startswith("sm_")
    return 16 if wide else next_power(width)


def _sizes(q: Tensor, k: Tensor, lists: BlockLists) -> tuple[int, ...]:
    """The lengths a kernel takes: n, free, m, heads, group, kept, query_blocks."""
    group = q.shape[1] // k.shape[1]
    return (
        q.shape[2],
        k.shape[2] - lists.pinned,
        k.shape[2],
        q.shape[1],
        group,
        lists.indices.shape[3],
        lists.indices.shape[2],
    )


def _constants(q: Tensor, lists: BlockLists, tile: Tile) -> dict[str, int | str]:
    """What is compiled into a kernel."""
    return {
        "D": q.shape[3],
        "BLOCK_D": next_power(q.shape[3]),
        "BLOCK_Q": lists.block_q,
        "BLOCK_K": lists.block_k,
        "TILE_M": tile.m,
        "TILE_N": tile.n,
        "PRECISION": precision(architecture_of(q.device), q.dtype),
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
