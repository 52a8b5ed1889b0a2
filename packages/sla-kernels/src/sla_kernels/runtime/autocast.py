"""Autocast, as `scaled_dot_product_attention` obeys it."""

import torch
from torch import Tensor


def under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast to the autocast type of the tensors' device where autocast is on; else leave alone."""
    device = tensors[0].device.type
    if device == "meta" or not torch.is_autocast_enabled(device):  # meta knows no autocast
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(x if x.dtype == torch.float64 else x.to(dtype) for x in tensors)
