"""The sparse branch by PyTorch's compiled FlexAttention: forward only, on the CPU.

It needs a C++ compiler, and the first call of a new head width or type compiles for seconds.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sla_kernels.select.selection import BlockSelection


def sparse_attention_flex(
    q: Tensor, k: Tensor, v: Tensor, selection: BlockSelection, scale: float
) -> Tensor:
    """Return the output of the sparse branch.

    Raises ValueError where a gradient or pinned tokens are asked for.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError(
            "backend='flex' with a gradient of q, k or v; it has no backward pass on the CPU: "
            "call it under torch.no_grad() or pass backend='eager'"
        )
    if selection.num_pinned:
        raise ValueError(
            f"backend='flex' with {selection.num_pinned} pinned tokens; it knows none: "
            "pass backend='eager'"
        )
    grouped = q.shape[1] != k.shape[1]
    mask = block_mask(selection)
    leaves = (x.detach() for x in (q, k, v))  # it refuses those that could require a gradient
    out: Tensor = _compiled()(*leaves, block_mask=mask, scale=scale, enable_gqa=grouped)
    return out


def block_mask(selection: BlockSelection) -> BlockMask:
    """The same lists in FlexAttention's form."""
    lists = selection.indices.clamp(min=0)
    lists = F.pad(lists, (0, selection.key_blocks - lists.shape[3]))
    return BlockMask.from_kv_blocks(
        kv_num_blocks=selection.counts,
        kv_indices=lists,
        BLOCK_SIZE=selection.block,
        seq_lengths=(selection.num_queries, selection.num_keys),
        compute_q_blocks=False,
    )


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)
