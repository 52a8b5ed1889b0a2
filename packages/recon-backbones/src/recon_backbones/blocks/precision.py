"""High-precision islands: heads outside autocast, exponentials in at least float32."""

import functools
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

FIRST_BFLOAT16 = (8, 0)  # compute capability
NO_FLOAT64 = ("mps",)


def without_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Run what follows in the dtype of its weights, on the device of a tensor."""
    if like.is_meta:  # knows no autocast
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision; float32 and float64 stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def half_type(device: torch.device | str) -> torch.dtype:
    """The 16-bit type that a device multiplies: bfloat16, and float16 where that is missing.

    A GPU has bfloat16 from sm_80 on; Apple's (mps) emulates it before its latest generations.
    """
    device = torch.device(device)
    if device.type == "mps":
        return torch.float16
    known = device.type == "cuda" and torch.version.hip is None and torch.cuda.is_available()
    if known and torch.cuda.get_device_capability(device) < FIRST_BFLOAT16:
        return torch.float16
    return torch.bfloat16


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    known = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
    return any(bool(capabilities.get(name)) for name in known) or bool(
        torch.cpu._is_avx512_bf16_supported()
    )


def in_float64(x: Tensor) -> Tensor:
    """The same in float64, on the CPU where a device has none."""
    return (x.cpu() if x.device.type in NO_FLOAT64 else x).double()
