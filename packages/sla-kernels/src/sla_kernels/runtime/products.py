"""The number types that sums and products are made in."""

import functools

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> torch.dtype:
    """The type that sums of x are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def product_type(x: Tensor) -> torch.dtype:
    """What tokens like x are multiplied in: their own type where the device can do so.

    GPUs can; a CPU can multiply bfloat16 if it has instructions for it, and else float32.
    """
    if x.device.type != "cpu" or (x.dtype == torch.bfloat16 and _multiplies_bfloat16()):
        return x.dtype
    return at_least_float32(x)


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16 (AVX-512 BF16, AMX, ARM)."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    known = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
    return any(bool(capabilities.get(name)) for name in known) or bool(
        torch.cpu._is_avx512_bf16_supported()
    )
