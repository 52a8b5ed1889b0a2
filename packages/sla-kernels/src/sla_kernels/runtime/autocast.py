"""Autocast, as `scaled_dot_product_attention` obeys it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sla_kernels.runtime.checks import check_tensor


def under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast to the autocast type of the tensors' device where autocast is on; else leave alone."""
    for name, x in zip("qkv", tensors, strict=False):
        check_tensor(name, x)
    device = tensors[0].device.type
    if not _is_on(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(x if x.dtype == torch.float64 else x.to(dtype) for x in tensors)


def in_own_type(x: Tensor) -> AbstractContextManager[object]:
    """A context in which products of tensors like x are made in their own type after all."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if _is_on(device) else nullcontext()


def _is_on(device: str) -> bool:
    # A compiler need not ask whether it can be on, and that of PyTorch 2.11 cannot.
    known = torch.compiler.is_compiling() or torch.amp.is_autocast_available(device)
    return known and torch.is_autocast_enabled(device)
