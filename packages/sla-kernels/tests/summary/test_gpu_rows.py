"""Listed rows on a GPU: values, gradients, repeatability, capture, waits, memory."""

import pytest
import torch
from torch import Tensor

from sla_kernels import SparseLinearAttention, select_rows, sla_attention

from ..cases import errors, qkv, value_and_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def on_gpu(n: int, *, d: int = 64, dtype: torch.dtype = torch.bfloat16, g: int = 2) -> list[Tensor]:
    return [x.cuda() for x in qkv(n, n, g=g, d=d, dtype=dtype)]


def module(**options: object) -> SparseLinearAttention:
    """One with axes given, so that nothing is read to find them."""
    settings = {"keep": 8, "block": (64, 4), "order": "content", "opened": 4, "axes": 4}
    made = SparseLinearAttention(64, summary=(4, 64), linear=None, **{**settings, **options})
    made.directions = torch.linalg.qr(torch.randn(128, 4)).Q
    return made.cuda().bfloat16()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("width", [32, 64, 96, 128])
@pytest.mark.parametrize("n", [2001, 2748])
def test_values_and_gradients_equal_the_reference(n: int, width: int, dtype: torch.dtype) -> None:
    leaves = on_gpu(n, d=width, dtype=dtype, g=1)
    pinned = torch.tensor([0, 1000], device="cuda")
    selection = select_rows(*leaves, keep=8, summary=(4, 64), opened=4, axes=4, pinned=pinned)
    grad = torch.randn_like(leaves[0])

    def call(q, k, v):  # type: ignore[no-untyped-def]
        backend = "reference" if q.dtype == torch.float64 else "triton"
        return sla_attention(q, k, v, selection=selection, linear=None, backend=backend)

    exact = [x.double() for x in leaves]
    assert errors([call(*leaves)], [call(*exact)])[0] < TOLERANCE[dtype]
    # the gradients by the CPU, whose backward pass tests hold to the definition
    there = [x.cpu() for x in exact]
    fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    moved = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in fields.items()}

    def on_cpu(q, k, v):  # type: ignore[no-untyped-def]
        chosen = type(selection)(**moved)
        return sla_attention(q, k, v, selection=chosen, linear=None, backend="eager")

    expected = value_and_gradients(on_cpu, there, grad.double().cpu())
    found = value_and_gradients(call, leaves, grad)
    assert max(errors([x.cpu() for x in found], expected)) < TOLERANCE[dtype]


def test_the_same_bits_every_time() -> None:
    leaves, attention = on_gpu(2748), module()
    grad = torch.randn_like(leaves[0])
    first, second = (value_and_gradients(attention, leaves, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@torch.no_grad()
def test_capture_in_a_graph() -> None:
    leaves, attention = on_gpu(2748), module()
    pinned = torch.tensor([0, 687], device="cuda")
    expected = attention(*leaves, pinned)  # compiles, and plans the cuts of this length
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attention(*leaves, pinned)
    graph.replay()
    assert torch.equal(out, expected)


def test_capture_of_the_backward_pass() -> None:
    leaves, attention = [x.requires_grad_() for x in on_gpu(2748)], module()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the first backward pass must not be the captured one
        expected = torch.autograd.grad(attention(*leaves).square().sum(), leaves)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = torch.autograd.grad(attention(*leaves).square().sum(), leaves)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_nothing_waits_for_the_host() -> None:
    leaves, attention = [x.requires_grad_() for x in on_gpu(2748)], module()
    pinned = torch.tensor([0, 687], device="cuda")
    attention(*leaves, pinned).sum().backward()  # compile and plan first
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention(*leaves, pinned).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in leaves)


def test_a_new_length_compiles_nothing() -> None:
    from sla_kernels.summary.kernels import summary_attention_forward_kernel as kernel

    attention = module()
    attention(*on_gpu(2001))
    before = sum(len(x[0]) for x in kernel.device_caches.values())
    for n in (2048, 2748):
        attention(*on_gpu(n))
    assert sum(len(x[0]) for x in kernel.device_caches.values()) == before


def test_137_thousand_tokens_keep_their_lists_and_one_number_a_query() -> None:
    n, heads = 137_400, 16
    q, k, v = (
        torch.randn(1, heads, n, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
        for _ in range(3)
    )
    attention = module(keep=64, opened=24, axes=8)
    attention.directions = torch.linalg.qr(torch.randn(heads * 64, 8, device="cuda")).Q.bfloat16()
    before = torch.cuda.memory_allocated()
    out = attention(q, k, v)
    saved = torch.cuda.memory_allocated() - before - out.numel() * out.element_size()
    lists = attention.selection(q, k, v).rows.numel() * 4
    assert saved <= lists + 64e6  # log-sum-exp, tilts, the order and its cuts
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    out.sum().backward()
    rows = n * (1 + 1 / 4 + 1 / 64) * heads * 64
    assert torch.cuda.max_memory_allocated() - held <= 10 * rows * 4 + 1e9
