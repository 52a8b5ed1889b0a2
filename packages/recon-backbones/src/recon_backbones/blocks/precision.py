"""High-precision islands: heads outside autocast, exponentials in at least float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Run what follows in the dtype of its weights, on the device of a tensor."""
    if like.is_meta:  # knows no autocast
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision; float32 and float64 stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
