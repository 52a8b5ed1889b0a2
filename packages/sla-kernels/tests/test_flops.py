"""Operations: equal to the pairs attended, to dense attention, and to what the CPU multiplies."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from sla_kernels import (
    SparseLinearAttention,
    block_sparse_attention,
    order_tokens,
    select_blocks,
    select_rows,
    sla_attention,
)
from sla_kernels.flops import FORMULAS
from sla_kernels.linear.op import linear_attention_backward, linear_attention_forward
from sla_kernels.linear.rule import Rule
from sla_kernels.order.median import TURNS, median_order
from sla_kernels.sparse.op import sparse_attention_backward, sparse_attention_forward

D = 16
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ON_CPU = {
    _flash: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    _flash_backward: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
}


def count(fn: Callable[[], object]) -> int:
    """What PyTorch's counter finds; its attention on CPUs, which it overlooks, counted too."""
    counter = FlopCounterMode(display=False, custom_mapping=ON_CPU)
    with torch.no_grad(), counter:
        fn()
    return int(counter.get_total_flops())


def tensors(n: int, m: int, *, heads: int = 2, key_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + m)
    sizes = ((heads, n), (key_heads, m), (key_heads, m))
    q, k, v = (torch.randn(1, *size, D, generator=generator) for size in sizes)
    return q, k, v


def test_every_operator_has_a_formula() -> None:
    names = torch._C._dispatch_get_all_op_names()
    registered = {name[13:] for name in names if name.startswith("sla_kernels::")}
    assert {run.__name__ for run in FORMULAS} == registered - {"launch"}  # that computes nothing


def test_an_order_costs_the_turns_of_its_directions() -> None:
    """As PyTorch counts what the order does, where no segment is padded."""
    features, sizes = torch.randn(2, 64, 5), (16,)
    counted = count(lambda: torch.ops.sla_kernels.halve_tokens(features, sizes))
    assert (
        counted == count(lambda: median_order(features, sizes)) == 2 * 2 * TURNS * features.numel()
    )


def test_a_choice_by_content_costs_its_order_more_than_one_in_sequence() -> None:
    q, k, v = tensors(128, 128)
    made = {
        "keep": 2,
        "block": (32, 4),
        "summary": (4, 16),
        "opened": 2,
        "axes": torch.eye(2 * D, 3),
    }
    found = [
        count(lambda o=o: select_rows(q, k, v, order=o, **made)) for o in ("content", "sequence")
    ]
    order = count(lambda: order_tokens(torch.randn(1, 128, 3), (4, 16), axes=torch.eye(3)))
    own = 2 * 128 * 3 * 3  # the features of the call to `order_tokens` itself
    assert found[0] - found[1] == 2 * k.numel() * 3 + order - own


@given(
    n=st.integers(1, 200),
    m=st.integers(1, 200),
    choice=st.sampled_from([{"keep": 0.1}, {"keep": 0.5}, {"keep": 1.0, "top_p": 0.5}]),
    group=st.sampled_from([1, 2]),
)
@settings(deadline=None, max_examples=40)
def test_the_sparse_branch_costs_what_it_attends(
    n: int, m: int, choice: dict[str, float], group: int
) -> None:
    q, k, v = tensors(n, m, key_heads=2 // group)
    selection = select_blocks(q, k, block=(32, 16), **choice)
    attended = int(selection.token_mask().sum())
    assert count(lambda: block_sparse_attention(q, k, v, selection)) == 4 * D * attended


def test_pinned_tokens_are_counted() -> None:
    q, k, v = tensors(90, 90)
    pinned = torch.tensor([0, 40, 41])
    selection = select_blocks(q, k, keep=0.3, block=(32, 16), pinned=pinned)
    attended = int(selection.token_mask().sum())
    assert count(lambda: block_sparse_attention(q, k, v, selection)) == 4 * D * attended


@pytest.mark.parametrize(("n", "m"), [(64, 64), (70, 45)])
def test_keeping_all_costs_what_pytorch_counts_for_dense_attention(n: int, m: int) -> None:
    q, k, v = tensors(n, m)

    def dense() -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v)

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        dense()
    whole = counter.get_total_flops()
    assert whole == 4 * 2 * n * m * D
    selection = select_blocks(q, k, keep=1.0, block=(32, 16))
    assert count(lambda: block_sparse_attention(q, k, v, selection)) == whole
    assert count(lambda: F.scaled_dot_product_attention(q, k, v)) == whole


def test_the_backward_pass_of_keeping_all_costs_what_dense_attention_does() -> None:
    q, k, v = (x.requires_grad_() for x in tensors(64, 48))
    selection = select_blocks(q, k, keep=1.0, block=(32, 16))

    def pull_back(attend: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            with torch.enable_grad():
                attend().sum().backward()

        return run

    both = count(pull_back(lambda: block_sparse_attention(q, k, v, selection)))
    assert both == (4 + 10) * 2 * 64 * 48 * D
    assert both == count(pull_back(lambda: F.scaled_dot_product_attention(q, k, v)))


@pytest.mark.parametrize("pinned", [0, 8])
@pytest.mark.parametrize("scope", ["all", "complement"])
@pytest.mark.parametrize("projected", [True, False])
def test_formulas_equal_what_the_cpu_backend_multiplies(
    scope: str, projected: bool, pinned: int
) -> None:
    """Run below the operators, where PyTorch sees every product of whole blocks."""
    free = 128
    q, k, v = tensors(free + pinned, free + pinned)
    weight, bias = (torch.randn(D, D), torch.randn(D)) if projected else (None, None)
    positions = torch.arange(3, 3 + pinned) if pinned else None
    made = select_blocks(q, k, keep=0.4, block=(32, 16), pinned=positions)
    lists, rule, out = made.lists, Rule(scope, "softmax", 1e-5), torch.empty(0)

    def inside() -> Tensor:
        nonlocal out
        out, lse = sparse_attention_forward(q, k, v, lists, D**-0.5, "eager")
        linear_attention_forward(q, k, v, weight, bias, lists, rule, "eager")
        return lse

    def inside_backward() -> None:
        sparse_attention_backward(out, q, k, v, out, lse, lists, D**-0.5, "eager")
        linear_attention_backward(out, q, k, v, weight, lists, rule, "eager")

    forward = count(inside)
    lse = inside()
    backward = count(inside_backward)
    # the CPU sums states by a product with a mask of zeros and ones, which is no work of the method
    sums = 0 if scope == "all" else 2 * 2 * 4 * 8 * (D * D + D)
    operator = torch.ops.sla_kernels
    args = (*lists, D**-0.5, *rule, "eager")
    counted = count(lambda: operator.sla_attention_forward(True, q, k, v, weight, bias, *args))
    assert counted == forward - sums
    counted = count(lambda: operator.sla_attention_backward(out, q, k, v, weight, out, lse, *args))
    assert counted == backward - 2 * sums


def test_one_operator_for_both_branches_costs_their_sum() -> None:
    q, k, v = tensors(100, 100)
    weight = torch.randn(D, D)
    selection = select_blocks(q, k, keep=0.4, block=(32, 16), negligible=0.2)
    for scope in ("all", "complement", "marginal"):
        kwargs = {"selection": selection, "linear": scope, "weight": weight}
        together = count(lambda: sla_attention(q, k, v, **kwargs))  # noqa: B023
        parts = count(lambda: sla_attention(q, k, v, **kwargs, return_branches=True))  # noqa: B023
        # apart, every token is projected; together, every state
        states = 2 if scope == "all" else 2 * 7
        assert parts - 2 * 2 * 100 * D * D == together - 2 * states * D**3


@pytest.mark.parametrize(("estimator", "parts"), [("mean", 1), ("subblock_lse", 4)])
def test_selection_costs_the_products_of_its_means(estimator: str, parts: int) -> None:
    q, k, _ = tensors(100, 77)
    cost = count(lambda: select_blocks(q, k, keep=0.5, block=(32, 16), estimator=estimator))
    rows, columns = -(-100 // (32 // parts)), -(-77 // (16 // parts))
    assert cost == 2 * 2 * rows * columns * D


def test_a_sparse_module_costs_less_than_a_dense_one_and_never_nothing() -> None:
    q, k, v = tensors(512, 512)
    light = SparseLinearAttention(D, keep=0.1, block=(32, 16))
    dense = count(lambda: F.scaled_dot_product_attention(q, k, v))
    assert 0.1 * dense < count(lambda: light(q, k, v)) < 0.4 * dense


def test_lists_without_data_count_as_full() -> None:
    def attend() -> Tensor:
        q, k, v = (torch.empty(1, 2, 100, D) for _ in range(3))
        selection = select_blocks(q, k, keep=1.0, top_p=0.5, block=(32, 16))
        return block_sparse_attention(q, k, v, selection)

    with FakeTensorMode():
        assert count(attend) == 4 * 2 * 100 * 100 * D + 2 * 2 * 4 * 7 * D
