"""What runs an attention call: a decision made in one place, and said aloud by `explain`."""

from importlib import import_module

import torch
from torch import Tensor

from sla_kernels.checks import check_choice

BACKENDS = ("auto", "reference", "eager", "flex", "triton")
TRITON_WIDTHS = (32, 64, 96, 128)
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def resolve(backend: str, q: Tensor) -> tuple[str, str]:
    """Return the backend that runs and why; "auto" never changes a value, only who computes it.

    Raises ValueError where the backend asked for cannot run on these tensors.
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "auto":
        return _choose(q)
    if backend == "triton":
        _check_triton(q)
    elif backend in ("eager", "flex") and q.device.type != "cpu":
        raise ValueError(
            f"backend={backend!r} runs on the CPU but q is on {q.device}; "
            "pass backend='triton' or 'reference'"
        )
    return backend, "asked for"


def _choose(q: Tensor) -> tuple[str, str]:
    if q.device.type == "cpu":
        return "eager", "the tensors are on the CPU"
    _check_triton(q)
    return "triton", f"the tensors are on {q.device}"


def _check_triton(q: Tensor) -> None:
    way_out = "pass backend='reference', which is quadratic in memory"
    if q.shape[3] not in TRITON_WIDTHS:
        raise ValueError(
            f"q has head width {q.shape[3]}; the Triton kernels know {TRITON_WIDTHS}: {way_out}"
        )
    if q.dtype not in TRITON_DTYPES:
        raise ValueError(f"q has dtype {q.dtype}, which the Triton kernels do not know: {way_out}")
    try:
        runtime = import_module("sla_kernels.triton_runtime")
    except ImportError as error:
        raise ValueError(
            f"backend='triton' needs Triton, which cannot be imported ({error}); "
            f"pip install 'sla-kernels[triton]', or {way_out}"
        ) from error
    runtime.check_device(q)


def tile_of(name: str, q: Tensor, block: tuple[int, int]) -> str:
    """What a backend works on at a time, in words."""
    if name == "triton":
        described: str = import_module("sla_kernels.triton_runtime").describe(q, block)
        return described
    return {
        "reference": "the whole score matrix",
        "eager": f"batches of query blocks of {block[0]} with their gathered keys",
        "flex": f"compiled tiles of {block[0]} by {block[1]}",
    }[name]
