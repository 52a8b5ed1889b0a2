"""Whatever the public operators are given: an answer of the right shape, or one sentence."""

import re
import warnings
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sla_kernels import (
    SparseLinearAttention,
    block_sparse_attention,
    explain,
    order_tokens,
    principal_axes,
    select_blocks,
    select_rows,
    sla_attention,
)

LIMITED = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SENTENCE = re.compile(r"\w+.*[;:].*", re.S)
DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool)
SIZES = st.sampled_from([0, 1, 1, 2, 2, 16, 17, 33])
VALUES = st.sampled_from(["ordinary", "zero", "nan", "inf", "huge"])
NUMBERS = st.sampled_from(
    [0, 1, 2, 0.1, 0.5, 1.0, -1, 1.5, float("nan"), float("inf"), 2**40, True]
)
BLOCKS = st.sampled_from([(16, 16), (32, 16), (16, 64), (0, 16), (24, 16), (16,), (512, 512)])


@st.composite
def tensors(draw: st.DrawFn, like: tuple[int, ...] | None = None, axes: int = 4) -> Tensor:
    """Any tensor; most often one of the shape `like`, in float32."""
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=5)))
    if draw(st.integers(0, 9)):
        shape = like or tuple(draw(st.lists(SIZES, min_size=axes, max_size=axes)))
    dtype = draw(st.sampled_from(DTYPES)) if draw(st.integers(0, 3)) == 0 else torch.float32
    kind = draw(VALUES) if draw(st.integers(0, 2)) == 0 else "ordinary"
    x = torch.randn(shape)
    if kind != "ordinary" and x.numel():
        value = {"zero": 0.0, "nan": float("nan"), "inf": float("inf"), "huge": 1e30}[kind]
        x.flatten()[draw(st.integers(0, x.numel() - 1)) :] = value
    return x.to(dtype)


@st.composite
def attention(draw: st.DrawFn) -> list[Tensor]:
    """Queries, keys and values that fit together, most often."""
    b, h, d = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 4])), 16
    n, m = draw(st.sampled_from([1, 17, 40])), draw(st.sampled_from([1, 40, 65]))
    return [draw(tensors((b, h, tokens, d))) for tokens in (n, m, m)]


def answered(function: Any, *arguments: Any, **options: Any) -> Any:
    """What a call returns, or None where it refuses in a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **options)
    except (ValueError, TypeError) as error:
        assert SENTENCE.match(str(error)) or "Type-check" in str(error), error
        return None


def options_of(**named: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these options, given or left out."""
    return st.fixed_dictionaries({}, optional=named)


ROWS = options_of(
    order=st.sampled_from(["sequence", "content", "size"]),
    summary=st.sampled_from([None, 4, (4, 16), (4, 6), 0]),
    opened=st.sampled_from([0, 1, 24, -1]),
    axes=st.sampled_from([0, 1, 8, 99]),
)


@LIMITED
@given(
    qkv=attention(), keep=NUMBERS, block=BLOCKS, more=ROWS, linear=st.sampled_from(["all", None])
)
def test_attention_answers_or_refuses(
    qkv: list[Tensor], keep: Any, block: Any, more: dict[str, Any], linear: str | None
) -> None:
    out = answered(sla_attention, *qkv, keep=keep, block=block, linear=linear, **more)
    if out is not None:
        assert out.shape == qkv[0].shape and out.dtype == qkv[0].dtype
        tame = all(bool(x.isfinite().all()) and float(x.abs().max()) < 1e4 for x in qkv)
        assert not tame or bool(out.isfinite().all())
    said = answered(explain, *qkv[:2], keep=keep, block=block, **more)
    assert said is None or str(said)


@LIMITED
@given(qkv=attention(), keep=NUMBERS, block=BLOCKS, more=ROWS)
def test_choices_are_lists_or_refused(
    qkv: list[Tensor], keep: Any, block: Any, more: dict[str, Any]
) -> None:
    chosen = answered(select_blocks, *qkv[:2], keep=keep, block=block)
    if chosen is not None:
        assert 0 < chosen.density <= 1
        out = answered(block_sparse_attention, *qkv, chosen)
        assert out is None or out.shape == qkv[0].shape
    answered(select_rows, *qkv[:2], keep=keep, block=block, **more)


@LIMITED
@given(x=tensors(axes=3), leaf=st.sampled_from([1, 4, 0, -1, (4, 16), (4, 6), ()]), axes=NUMBERS)
def test_orders_are_permutations_or_refused(x: Tensor, leaf: Any, axes: Any) -> None:
    order = answered(order_tokens, x, leaf, axes=axes)
    if order is not None:
        assert torch.equal(order.positions.sort(1).values[0], torch.arange(x.shape[1]))
    found = answered(principal_axes, x, axes)
    assert found is None or found.shape == (x.shape[2], axes)


@LIMITED
@given(width=st.sampled_from([16, 32, 0, -1]), keep=NUMBERS, block=BLOCKS, more=ROWS, x=tensors())
def test_modules_are_made_or_refused(
    width: int, keep: Any, block: Any, more: dict[str, Any], x: Tensor
) -> None:
    module = answered(SparseLinearAttention, width, keep=keep, block=block, **more)
    if module is not None:
        out = answered(module, x, x, x)
        assert out is None or out.shape == x.shape
