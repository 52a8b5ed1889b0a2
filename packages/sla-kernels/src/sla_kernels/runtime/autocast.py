"""Autocast, as `scaled_dot_product_attention` obeys it."""

import torch
from torch import Tensor

from sla_kernels.runtime.checks import check_tensor


def under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast to the autocast type of the tensors' device where autocast is on; else leave alone."""
    for name, x in zip("qkv", tensors, strict=False):
        check_tensor(name, x)
    device = tensors[0].device.type
    # A compiler need not ask, and that of PyTorch 2.11 cannot.
    known = torch.compiler.is_compiling() or torch.amp.is_autocast_available(device)
    if not known or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(x if x.dtype == torch.float64 else x.to(dtype) for x in tensors)
