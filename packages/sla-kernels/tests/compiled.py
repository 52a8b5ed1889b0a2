"""Compilation and registration; run by test_compile.py without the shape checks of the test run.

Those checks compare sizes with `int`, and a compiler's symbolic sizes are none.
"""

from functools import partial

import pytest
import torch

from sla_kernels import (
    SparseLinearAttention,
    sdpa_override,
    select_blocks,
    select_rows,
    sla_attention,
)

from .cases import qkv

PINNED = torch.tensor([0, 57, 114, 171])


def make() -> SparseLinearAttention:
    return SparseLinearAttention(32, keep=0.3, block=(32, 16))


@pytest.mark.parametrize("pinned", [pytest.param(None, marks=pytest.mark.nightly), PINNED])
def test_any_length_runs_in_one_graph(pinned: torch.Tensor | None) -> None:
    torch._dynamo.reset()
    module, graphs = make(), []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch.nn.init.normal_(module.proj_l.weight)
    compiled = torch.compile(module, backend=count, fullgraph=True, dynamic=True)
    for n in (250, 300, 331):
        q, k, v = (x.requires_grad_() for x in qkv(n, n))
        expected = torch.autograd.grad(module(q, k, v, pinned=pinned).square().sum(), (q, k, v))
        found = torch.autograd.grad(compiled(q, k, v, pinned=pinned).square().sum(), (q, k, v))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    assert len(graphs) == 1


def test_a_model_whose_attention_is_replaced_compiles() -> None:
    torch._dynamo.reset()
    layer = torch.nn.TransformerEncoderLayer(64, 2, 128, dropout=0.0, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = torch.randn(1, 99, 64)
    with sdpa_override(model, lambda site: make()):
        torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def test_aot_autograd_compiles_forward_and_backward() -> None:
    torch._dynamo.reset()
    module = make()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    for n in (250, 331):
        q, k, v = (x.requires_grad_() for x in qkv(n, n))
        expected = torch.autograd.grad(module(q, k, v).square().sum(), (q, k, v))
        found = torch.autograd.grad(compiled(q, k, v).square().sum(), (q, k, v))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("pinned", [pytest.param(None, marks=pytest.mark.nightly), PINNED])
def test_operators_are_registered_as_pytorch_wants_them(pinned: torch.Tensor | None) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(228, 228, d=16))
    selection = select_blocks(q, k, keep=0.3, block=(32, 16), pinned=pinned)
    lists = selection.lists
    weight, bias = (torch.randn(size, requires_grad=True) for size in ((16, 16), (16,)))
    rule = ("complement", "softmax", 1e-5)
    ops = torch.ops.sla_kernels
    torch.library.opcheck(ops.select_blocks, (q, k, 3, 1.0, 32, 16, False, "mean", 2, 0.25))
    torch.library.opcheck(ops.sparse_attention_forward, (q, k, v, *lists, 0.25, "eager"))
    both = (q, k, v, weight, bias, *lists)
    torch.library.opcheck(ops.linear_attention_forward, (*both, *rule, "eager"))
    rest = (0.25, *rule, "eager")
    torch.library.opcheck(ops.sla_attention_forward, (True, *both, *rest))
    with torch.no_grad():
        torch.library.opcheck(
            ops.sla_attention_forward, (False, *(x.detach() for x in both[:5]), *both[5:], *rest)
        )


def test_operators_of_listed_rows_pass_pytorchs_own_checks() -> None:
    q, k, v = (torch.randn(1, 2, 300, 8, requires_grad=True) for _ in range(3))
    pinned = torch.tensor([5])
    selection = select_rows(
        q, k, v, keep=2, block=(16, 4), summary=(4, 16), opened=3, axes=4, pinned=pinned
    )
    torch.library.opcheck(
        torch.ops.sla_kernels.summary_attention_forward, (q, k, v, *selection.lists, 0.3, "eager")
    )
    inputs = tuple(x.detach() for x in (q, k, v))
    plan = (2, 3, 16, [4, 16], True, 4, True, 0.3)
    torch.library.opcheck(torch.ops.sla_kernels.choose_rows, (*inputs, pinned, None, None, *plan))


def test_one_graph_of_listed_rows_serves_all_lengths() -> None:
    module = SparseLinearAttention(
        8, keep=2, block=(16, 4), order="content", summary=(4, 16), opened=3, axes=4, linear=None
    )
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for tokens in (300, 411):
        q, k, v = (torch.randn(1, 2, tokens, 8) for _ in range(3))
        torch.testing.assert_close(compiled(q, k, v), module(q, k, v))


@pytest.mark.parametrize("linear", [None, "all"])
def test_one_graph_of_attention_to_every_key_serves_all_lengths(linear: str | None) -> None:
    module = SparseLinearAttention(
        8, keep=1.0, block=(16, 4), order="content", summary=(4, 16), axes=4, linear=linear
    )
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    listed = torch.compile(
        partial(sla_attention, linear=None, backend="eager"),
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for tokens in (300, 411):
        q, k, v = (torch.randn(1, 2, tokens, 8) for _ in range(3))
        torch.testing.assert_close(compiled(q, k, v), module(q, k, v))
        given = select_rows(q, k, v, keep=1.0, block=(16, 4), summary=(4, 16), axes=4)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(listed(q, k, v, selection=given), expected)
    with torch.no_grad():  # where nothing is compiled it goes by products
        half = [x.bfloat16() for x in (q, k, v)]
        torch.testing.assert_close(
            compiled(*half), module(*half), rtol=2**-7, atol=2**-7 * float(expected.abs().max())
        )
