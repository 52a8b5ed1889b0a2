"""Softmax over listed rows by any backend; its callers have checked everything."""

import torch
from torch import Tensor

from sla_kernels.runtime.checks import check_no_tangents
from sla_kernels.summary.selection import SummarySelection


def summary_attention(
    q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection, scale: float, backend: str
) -> Tensor:
    """Return softmax over the rows that each query block lists; pinned queries read every key."""
    check_no_tangents(q, k, v)
    out: Tensor = torch.ops.sla_kernels.summary_attention_forward(
        q, k, v, *selection.lists, scale, backend
    )[0]
    return out
