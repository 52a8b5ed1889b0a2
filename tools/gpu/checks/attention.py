"""The kernels of sparse, linear and summary attention against float64 and the CPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu.setting import Setting
from sla_kernels import (
    SparseLinearAttention,
    SummarySelection,
    select_blocks,
    select_rows,
    sla_attention,
)
from sla_kernels.order.launch import halved_order
from sla_kernels.order.median import median_order

ALLOWED = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
Check = Callable[[], dict[str, float]]
LISTED = 10_992  # tokens of eight views
ROWS = {"keep": 64, "block": (64, 4), "summary": (4, 64, 512), "opened": 20, "axes": 16}
FEW = {"keep": 3, "block": (16, 4), "summary": (4, 64), "opened": 4, "axes": 4}


def checks(setting: Setting) -> dict[str, Check]:
    """By name; the commonest first."""
    found: dict[str, Check] = {"order": partial(order, setting)}
    kinds = [(torch.bfloat16, 64), (torch.bfloat16, 128), (torch.float16, 64), (torch.float32, 64)]
    kinds += [(torch.bfloat16, 32), (torch.bfloat16, 96)]
    for dtype, width in [(torch.float32, 32)] if setting.rehearse else kinds:
        case = f"{str(dtype).removeprefix('torch.')}, width {width}"
        for scope in (None, "all", "complement"):
            found[f"blocks, linear {scope}, {case}"] = partial(blocks, dtype, width, scope, setting)
        found[f"rows, {case}"] = partial(rows, dtype, width, setting)
        if not setting.rehearse:
            found[f"streams, rows, {case}"] = partial(streams, dtype, width)
            found[f"captured, rows, {case}"] = partial(captured, dtype, width)
            found[f"no wait for the host, rows, {case}"] = partial(no_wait, dtype, width)
    if not setting.rehearse:  # whose products take a part of the columns at a time
        wide = partial(blocks, torch.float32, 128, None, setting)
        found["blocks, linear None, float32, width 128"] = wide
    return found


def order(setting: Setting) -> dict[str, float]:
    """The share of tokens that stand elsewhere than by PyTorch's operations on the CPU.

    Values that differ by a rounding of a sum may change places.
    """
    n, sizes = (90, (4, 32)) if setting.rehearse else (LISTED, (4, 64, 512))
    features = torch.randn(2, n, 16)
    found = halved_order(features.to(setting.device), sizes).cpu()
    differ = float((found != median_order(features, sizes)).float().mean())
    return {"error": differ, "allowed": 0.01}


def tensors(
    n: int, width: int, dtype: torch.dtype, setting: Setting, count: int = 3
) -> list[Tensor]:
    """Random inputs, drawn on the CPU."""
    return [torch.randn(1, 2, n, width).to(setting.device, dtype) for _ in range(count)]


def blocks(dtype: torch.dtype, width: int, scope: str | None, setting: Setting) -> dict[str, float]:
    """Values and gradients of kept blocks and of the linear branch."""
    n = 70 if setting.rehearse else 1374
    *leaves, grad = tensors(n, width, dtype, setting, 4)
    selection = select_blocks(
        *leaves[:2], keep=0.4, block=(32, 16) if setting.rehearse else (128, 64)
    )

    def call(*x: Tensor) -> Tensor:
        backend = "reference" if x[0].dtype == torch.float64 else "triton"
        return sla_attention(*x, selection=selection, linear=scope, backend=backend)

    expected = with_gradients(call, [x.double() for x in leaves], grad.double())
    return {
        "error": largest(with_gradients(call, leaves, grad), expected),
        "allowed": ALLOWED[dtype],
    }


def rows(dtype: torch.dtype, width: int, setting: Setting) -> dict[str, float]:
    """Values and gradients of listed rows, against the CPU in float64."""
    n = 300 if setting.rehearse else LISTED
    *leaves, grad = tensors(n, width, dtype, setting, 4)
    pinned = torch.tensor([0, n // 2], device=setting.device)
    selection = select_rows(*leaves, **(FEW if setting.rehearse else ROWS), pinned=pinned)
    assert not selection.keeps_all
    there = on_cpu(selection)

    def exact(*x: Tensor) -> Tensor:
        return sla_attention(*x, selection=there, linear=None, backend="eager")

    def call(*x: Tensor) -> Tensor:
        return sla_attention(*x, selection=selection, linear=None, backend="triton")

    found = [x.cpu() for x in with_gradients(call, leaves, grad)]
    expected = with_gradients(exact, [x.cpu().double() for x in leaves], grad.cpu().double())
    return {"error": largest(found, expected), "allowed": ALLOWED[dtype]}


def on_cpu(selection: SummarySelection) -> SummarySelection:
    """The same selection in the CPU's memory."""
    fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    return SummarySelection(
        **{k: v.cpu() if isinstance(v, Tensor) else v for k, v in fields.items()}
    )


def module(width: int, dtype: torch.dtype) -> SparseLinearAttention:
    """One with axes given, on the GPU."""
    made = SparseLinearAttention(width, **ROWS, order="content", linear=None)
    made.directions = torch.linalg.qr(torch.randn(2 * width, ROWS["axes"])).Q
    return made.to("cuda", dtype)


@torch.no_grad()
def streams(dtype: torch.dtype, width: int) -> dict[str, float]:
    """Two streams at once give the bits of one after the other."""
    leaves = [torch.randn(1, 2, LISTED, width, device="cuda", dtype=dtype) for _ in range(3)]
    attention = module(width, dtype)
    expected = attention(*leaves)
    torch.cuda.synchronize()
    found = []
    for stream in (torch.cuda.Stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            found.append(attention(*leaves))
    torch.cuda.synchronize()
    error = max(float((out - expected).abs().max()) for out in found)
    return {"error": error, "allowed": 0.0}


@torch.no_grad()
def captured(dtype: torch.dtype, width: int) -> dict[str, float]:
    """A CUDA graph gives the same bits."""
    leaves = [torch.randn(1, 2, LISTED, width, device="cuda", dtype=dtype) for _ in range(3)]
    attention = module(width, dtype)
    expected = attention(*leaves)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attention(*leaves)
    graph.replay()
    return {"error": float((out - expected).abs().max()), "allowed": 0.0}


def no_wait(dtype: torch.dtype, width: int) -> dict[str, float]:
    """Forward and backward read nothing back."""
    leaves = [
        torch.randn(1, 2, LISTED, width, device="cuda", dtype=dtype).requires_grad_()
        for _ in range(3)
    ]
    attention = module(width, dtype)
    attention(*leaves).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention(*leaves).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"error": 0.0, "allowed": 0.0}


def with_gradients(call: Callable[..., Tensor], leaves: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The output, and the gradients of all leaves."""
    own = [x.detach().requires_grad_() for x in leaves]
    out = call(*own)
    return [out.detach(), *torch.autograd.grad(out, own, grad)]


def largest(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest norm of a difference over the norm of what it should be; NaN counts as most."""

    def of(a: Any, b: Any) -> float:
        error = float((a.double() - b.double()).norm() / b.double().norm())
        return error if error == error else float("inf")

    return max(of(a, b.to(a.device)) for a, b in zip(found, expected, strict=True))
