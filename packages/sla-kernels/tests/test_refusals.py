"""What cannot work is refused by name, value and rule."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sla_kernels import (
    BlockSelection,
    SparseLinearAttention,
    block_sparse_attention,
    explain,
    select_blocks,
    sla_attention,
)
from sla_kernels.chosen import DEFAULTS

from .cases import qkv


@pytest.mark.parametrize("keep", [0, 0.0, 2.0, -1, -0.5, math.nan, math.inf, True])
def test_keep(keep: object) -> None:
    q, k, v = qkv(64, 64)
    with pytest.raises(ValueError, match=r"keep=.*fraction in \(0, 1\]"):
        SparseLinearAttention(32, keep=keep)
    with pytest.raises(ValueError, match=r"keep=.*fraction in \(0, 1\]"):
        sla_attention(q, k, v, keep=keep)


@pytest.mark.parametrize("block", [(0, 64), (64, 8), (100, 64), (64, 512)])
def test_block(block: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="power of two from 16 to 256"):
        select_blocks(*qkv(64, 64)[:2], keep=0.5, block=block)


@pytest.mark.parametrize(
    ("pinned", "message"),
    [
        (torch.tensor([64]), "must lie in"),
        (torch.tensor([-1]), "must lie in"),
        (torch.tensor([3, 3]), "twice"),
        (torch.arange(64), "leave at least one"),
    ],
)
def test_pinned(pinned: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_blocks(*qkv(64, 64)[:2], keep=0.5, pinned=pinned)


def test_pinned_needs_self_attention() -> None:
    with pytest.raises(ValueError, match="self-attention"):
        select_blocks(*qkv(64, 80)[:2], keep=0.5, pinned=torch.tensor([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_map": "gelu"}, "'softmax', 'elu1', 'relu'"),
        ({"linear": "some"}, "'all', 'complement', 'marginal', None"),
        ({"backend": "cuda"}, "'auto', 'reference', 'eager', 'flex', 'triton', 'dense'"),
        ({"bias": torch.zeros(32)}, "without weight"),
        ({"eps": -1.0}, "at least 0"),
        ({"negligible": 1.5, "linear": "marginal"}, r"negligible=1.5; it must lie in \[0, 1\)"),
        ({"negligible": 0.1}, "scope 'marginal' alone"),
        ({"linear": "marginal"}, "negligible class"),
        ({"linear": None, "weight": torch.zeros(32, 32)}, "linear=None"),
        ({"keep": None}, "exactly one"),
    ],
)
def test_options(options: dict, message: str) -> None:
    q, k, v = qkv(64, 64)
    with pytest.raises(ValueError, match=message):
        sla_attention(q, k, v, **{"keep": 0.5, **options})


def test_shapes_and_types() -> None:
    q, k, v = qkv(64, 64)
    selection = select_blocks(q, k, keep=0.5)
    with pytest.raises(ValueError, match=r"q is torch\.float32"):
        block_sparse_attention(q, k, v.double(), selection)
    with pytest.raises(ValueError, match="made for"):
        block_sparse_attention(q[:, :, :60], k, v, selection)
    with pytest.raises(ValueError, match="multiple"):
        block_sparse_attention(q[:, :1], k, v, selection)
    with pytest.raises(ValueError, match="head width 32; this module was made for 64"):
        SparseLinearAttention(64, keep=0.5)(q, k, v)
    with pytest.raises(ValueError, match="no axis may be empty"):
        block_sparse_attention(q[:, :, :0], k, v, selection)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "other", [torch.Tensor.to_sparse, torch.Tensor.to_mkldnn, torch.nested.as_nested_tensor]
)
def test_tensors_that_do_not_hold_every_number_of_every_axis(
    other: Callable[[Tensor], Tensor], position: int
) -> None:
    tokens = qkv(70, 70)
    tokens[position] = other(tokens[position])
    said = f"{'qkv'[position]} is a tensor of layout .*; it must|Type-check"
    with pytest.raises((ValueError, TypeError), match=said):
        sla_attention(*tokens, keep=0.5)


def test_a_mix_without_a_linear_branch() -> None:
    with pytest.raises(ValueError, match="linear=None with combine='alpha'"):
        SparseLinearAttention(32, keep=0.5, linear=None, combine="alpha", heads=2)
    q, k, v = qkv(64, 64)
    with pytest.raises(ValueError, match="linear=None with mix or return_branches"):
        sla_attention(q, k, v, keep=0.5, linear=None, return_branches=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pinned": torch.tensor([0])}, r"pinned=\.\.\. with a selection"),
        ({"block": (16, 16)}, r"block=\(16, 16\) with a selection"),
        ({"order": "content"}, "order='content' with a selection"),
        ({"summary": (4, 16)}, r"summary=\(4, 16\) with a selection"),
        ({"opened": 3}, "opened=3 with a selection"),
        ({"axes": torch.eye(64, 4)}, r"axes=\.\.\. with a selection"),
    ],
)
def test_settings_of_a_choice_beside_a_selection(options: dict, message: str) -> None:
    q, k, v = qkv(64, 64)
    selection = select_blocks(q, k, keep=0.5)
    for call in (sla_attention, lambda q, k, v, **options: explain(q, k, **options)):
        with pytest.raises(ValueError, match=message):
            call(q, k, v, selection=selection, **options)


def test_a_negligible_class_beside_a_selection() -> None:
    q, k, v = qkv(64, 64)
    selection = select_blocks(q, k, keep=0.5, negligible=0.1)
    with pytest.raises(ValueError, match=r"negligible=0\.1 with a selection"):
        sla_attention(q, k, v, selection=selection, linear="marginal", negligible=0.1)


@pytest.mark.parametrize("call", [sla_attention, explain])
def test_settings_that_nobody_gave_are_those_of_the_signature(call) -> None:  # type: ignore[no-untyped-def]
    told = inspect.signature(call).parameters
    shared = set(told) & set(DEFAULTS)
    assert {"block", "order", "summary", "opened", "axes", "pinned"} <= shared
    assert {name: told[name].default for name in shared} == {
        name: DEFAULTS[name] for name in shared
    }


def test_a_mask_with_an_empty_row() -> None:
    mask = torch.ones(1, 1, 2, 4, dtype=torch.bool)
    mask[0, 0, 1] = False
    with pytest.raises(ValueError, match="at least one"):
        BlockSelection.from_mask(mask, block=(32, 16), num_queries=64, num_keys=64)


WAYS = [
    {"keep": 0.5, "block": (16, 16)},
    {"keep": 0.5, "block": (16, 16), "linear": None},
    {"keep": 0.5, "block": (16, 16), "mix": torch.ones(2)},
    {"keep": 1, "block": (16, 4), "order": "content", "summary": (4, 32), "linear": None},
]


@pytest.mark.parametrize("options", WAYS)
def test_a_forward_mode_derivative_is_not_taken_for_zero(options: dict) -> None:
    q, k, v = qkv(512, 512, d=16)
    with pytest.raises(ValueError, match="forward-mode"):
        torch.func.jvp(lambda q: sla_attention(q, k, v, **options), (q,), (q,))


@pytest.mark.parametrize("options", WAYS)
def test_a_second_derivative(options: dict) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(512, 512, d=16))
    loss = sla_attention(q, k, v, **options).square().sum()
    plain = torch.autograd.grad(loss, (q, k, v), retain_graph=True)
    kept = torch.autograd.grad(loss, (q, k, v), create_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    with pytest.raises(ValueError, match="second derivative"):
        kept[0].square().sum().backward()


def test_the_reference_has_both() -> None:
    q, k, v = (x.double() for x in qkv(64, 64, d=16))
    options = {"keep": 0.5, "block": (16, 16), "backend": "reference"}

    def loss(q: torch.Tensor) -> torch.Tensor:
        return sla_attention(q, k, v, **options).square().sum()

    _, along = torch.func.jvp(loss, (q,), (k,))
    leaf = q.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    torch.testing.assert_close(along, (slope * k).sum().detach())
    slope.square().sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0
