"""The Triton kernels on a GPU: values, gradients, repeatability, capture."""

import pytest
import torch

from sla_kernels import SparseLinearAttention, explain, select_blocks, sla_attention

from .cases import errors, qkv, random_selection, value_and_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def on_gpu(leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    return [x.cuda() for x in leaves]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("width", [32, 64, 96, 128])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 127, 500, 1374, 2748])
def test_values_and_gradients(n: int, width: int, dtype: torch.dtype) -> None:
    leaves = [*qkv(n, n, d=width), torch.randn(width, width) / width**0.5, torch.randn(width)]
    leaves = on_gpu([x.to(dtype) for x in leaves])
    grad = torch.randn(1, 2, n, width).to("cuda", dtype)
    selection = select_blocks(*leaves[:2], keep=0.3)

    def call(q, k, v, weight, bias):  # type: ignore[no-untyped-def]
        backend = "reference" if q.dtype == torch.float64 else "triton"
        return sla_attention(
            q, k, v, selection=selection, weight=weight, bias=bias, backend=backend
        )

    expected = value_and_gradients(call, [x.double() for x in leaves], grad.double())
    found = value_and_gradients(call, leaves, grad)
    floor = 10.0 if n == 1 else 1.0  # one key: gradients of q and k are zero but for rounding
    assert max(errors(found, expected, floor)) < TOLERANCE[dtype]


def test_the_same_bits_every_time() -> None:
    leaves = on_gpu(qkv(1374, 1374, d=64, dtype=torch.bfloat16))
    grad = torch.randn_like(leaves[0])

    def call(q, k, v):  # type: ignore[no-untyped-def]
        return sla_attention(q, k, v, keep=0.3)

    first, second = (value_and_gradients(call, leaves, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_new_length_compiles_nothing() -> None:
    from sla_kernels.sparse.kernels import sparse_attention_forward_kernel

    module = SparseLinearAttention(64, keep=0.3).cuda().bfloat16()
    module(*on_gpu(qkv(500, 500, d=64, dtype=torch.bfloat16)))
    before = sum(len(x[0]) for x in sparse_attention_forward_kernel.device_caches.values())
    for n in (512, 777, 1374):
        module(*on_gpu(qkv(n, n, d=64, dtype=torch.bfloat16)))
    assert sum(len(x[0]) for x in sparse_attention_forward_kernel.device_caches.values()) == before


def test_capture_in_a_graph() -> None:
    q, k, v = on_gpu(qkv(1374, 1374, d=64, dtype=torch.bfloat16))
    module = SparseLinearAttention(64, keep=0.3).cuda().bfloat16()
    pinned = torch.tensor([0, 687], device="cuda")
    with torch.no_grad():
        expected = module(q, k, v, pinned)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = module(q, k, v, pinned)
        graph.replay()
    assert torch.equal(out, expected)


def test_capture_of_the_backward_pass() -> None:
    q, k, v = (x.requires_grad_() for x in on_gpu(qkv(1374, 1374, d=64, dtype=torch.bfloat16)))
    module = SparseLinearAttention(64, keep=0.3).cuda().bfloat16()
    leaves = [q, k, v, *module.parameters()]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the first backward pass must not be the captured one
        expected = torch.autograd.grad(module(q, k, v).square().sum(), leaves)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = torch.autograd.grad(module(q, k, v).square().sum(), leaves)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("scope", ["all", "complement"])
def test_nothing_waits_for_the_host(scope: str) -> None:
    q, k, v = (x.requires_grad_() for x in on_gpu(qkv(1374, 1374, d=64, dtype=torch.bfloat16)))
    module = SparseLinearAttention(64, keep=0.3, linear=scope, top_p=0.9).cuda().bfloat16()
    pinned = torch.tensor([0, 687], device="cuda")
    module(q, k, v, pinned).sum().backward()  # compile first
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(q, k, v, pinned).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in (q, k, v))


def test_saved_activations_of_137_thousand_tokens_stay_below_320_megabytes() -> None:
    n, heads = 137_400, 16
    q, k, v = (
        torch.randn(1, heads, n, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
        for _ in range(3)
    )
    module = SparseLinearAttention(64, keep=0.05).cuda().bfloat16()
    before = torch.cuda.memory_allocated()
    out = module(q, k, v)
    saved = torch.cuda.memory_allocated() - before - out.numel() * out.element_size()
    assert saved <= 320e6


def test_keeping_all_runs_dense_attention() -> None:
    leaves = on_gpu(qkv(500, 500, d=64, dtype=torch.bfloat16))
    q, k, v = leaves
    assert explain(q, k, keep=1.0).backend == "dense"
    out = sla_attention(q, k, v, keep=1.0, linear=None)
    listed = sla_attention(q, k, v, keep=1.0, linear=None, backend="triton")
    assert errors([listed], [out])[0] < TOLERANCE[torch.bfloat16]


def test_compiled_in_one_graph_for_all_lengths() -> None:
    module = SparseLinearAttention(64, keep=0.3).cuda().bfloat16()
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for n in (500, 777, 1374):
        q, k, v = on_gpu(qkv(n, n, d=64, dtype=torch.bfloat16))
        assert torch.equal(compiled(q, k, v), module(q, k, v))


def test_more_elements_than_32_bits_count() -> None:
    """The last head starts beyond 2^31 elements of a strided tensor."""
    heads, n = 2, 300
    storage = torch.zeros((1 << 31) + n * 64, dtype=torch.bfloat16, device="cuda")
    q = storage.as_strided((1, heads, n, 64), (0, 1 << 31, 64, 1))
    q.normal_()
    out = sla_attention(q, q, q, keep=0.5)
    expected = sla_attention(q.clone(), q.clone(), q.clone(), keep=0.5)
    assert torch.equal(out, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_tensors_on_a_second_gpu() -> None:
    first = [x.requires_grad_() for x in on_gpu(qkv(500, 500, d=64, dtype=torch.bfloat16))]
    second = [x.detach().to("cuda:1").requires_grad_() for x in first]
    found = []
    for q, k, v in (first, second):
        out = sla_attention(q, k, v, keep=0.3)
        found.append([out, *torch.autograd.grad(out.square().sum(), (q, k, v))])
    assert all(x.device.index == 1 for x in found[1])
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(*found, strict=True))


def test_lists_of_any_kind() -> None:
    leaves = on_gpu(qkv(500, 700, h=4, g=2, d=64))
    selection = random_selection(4, 500, 700, (64, 64))
    fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    fields |= {name: fields[name].cuda() for name in ("indices", "counts")}
    selection = type(selection)(**fields)
    grad = torch.randn(1, 4, 500, 64, device="cuda")

    def call(q, k, v):  # type: ignore[no-untyped-def]
        backend = "reference" if q.dtype == torch.float64 else "triton"
        return sla_attention(q, k, v, selection=selection, linear="complement", backend=backend)

    expected = value_and_gradients(call, [x.double() for x in leaves], grad.double())
    assert max(errors(value_and_gradients(call, leaves, grad), expected)) < 2e-6
