"""The Triton kernels in the interpreter: values, every gradient, poisoned lanes and memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter

from sla_kernels import BlockSelection, block_sparse_attention, select_blocks, sla_attention
from sla_kernels.linear import launch as linear_launch
from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.select.blocks import mask_to_lists
from sla_kernels.select.columns import columns_of
from sla_kernels.sparse import launch

from .cases import LAYOUTS, apart, errors, named, qkv, random_selection, value_and_gradients

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the interpreter is for machines without a GPU"
)
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3}  # difference over norm, against float64


@pytest.fixture
def poisoned_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill lanes of masked loads that name no other value with NaN, not with zeros."""
    plain = interpreter.InterpreterBuilder.create_masked_load

    def load(self, pointers, mask, other, *rest):  # type: ignore[no-untyped-def]
        found = plain(self, pointers, mask, other, *rest)
        if other is None and found.data.dtype.kind == "f":
            found.data[~mask.data.astype(bool)] = np.nan
        return found

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_masked_load", load)


@pytest.fixture
def bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the interpreter multiply bfloat16 values, not their bit patterns."""
    plain = interpreter.InterpreterBuilder.create_dot

    def widen(x: interpreter.TensorHandle) -> interpreter.TensorHandle:
        if x.dtype != tl.bfloat16:
            return x
        values = interpreter._convert_float(x.data, tl.bfloat16, tl.float32, None)
        return interpreter.TensorHandle(values.view(np.float32), tl.float32)

    def dot(self, a, b, *rest):  # type: ignore[no-untyped-def]
        return plain(self, widen(a), widen(b), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)


def poisoned(leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same values as views into storage full of NaN."""
    made = []
    for x in leaves:
        b, h, n, d = x.shape
        storage = torch.full((b, h, n + 40, 2 * d), torch.nan, dtype=x.dtype)
        storage[:, :, 20 : n + 20, d // 2 : d // 2 + d] = x
        made.append(storage[:, :, 20 : n + 20, d // 2 : d // 2 + d])
    return made


def compare(selection: BlockSelection, leaves: list, **options: object) -> list[float]:
    q = leaves[0]
    grad = torch.randn(q.shape).to(q.dtype)

    def run(backend: str):  # type: ignore[no-untyped-def]
        def call(q, k, v, weight, bias):  # type: ignore[no-untyped-def]
            return sla_attention(
                q, k, v, selection=selection, weight=weight, bias=bias, backend=backend, **options
            )

        return call

    exact = [x.double() for x in leaves]
    expected = value_and_gradients(run("reference"), exact, grad.double())
    given = [*poisoned(leaves[:3]), *leaves[3:]]
    return errors(value_and_gradients(run("triton"), given, grad), expected)


CASES = [  # n, m, h, g, d, block, pinned tokens, scope, feature map
    (100, 130, 2, 2, 32, (32, 16), 0, "all", "softmax"),
    (65, 63, 4, 2, 64, (64, 64), 0, "complement", "elu1"),
    (127, 127, 2, 1, 32, (32, 32), 5, "complement", "relu"),
    (127, 127, 1, 1, 96, (64, 64), 70, "all", "softmax"),
    (64, 200, 1, 1, 128, (128, 128), 0, "marginal", "softmax"),
]
TYPED = [  # in half precision, other cases take the same way again
    *((case, torch.float32) for case in CASES),
    *((case, torch.float16) for case in CASES[1:3]),
    *(pytest.param(CASES[i], torch.float16, marks=pytest.mark.nightly) for i in (0, 3, 4)),
]


@pytest.mark.usefixtures("poisoned_lanes", "poisoned_empty")
@pytest.mark.parametrize(("case", "dtype"), TYPED, ids=named)
def test_values_and_gradients(case: tuple, dtype: torch.dtype) -> None:
    n, m, h, g, d, block, pins, scope, feature_map = case
    pinned = torch.randperm(n)[:pins] if pins else None
    selection = random_selection(h, n, m, block, pinned)
    if scope == "marginal":
        skipped = (torch.rand(selection.block_mask().shape) < 0.4) & ~selection.block_mask()
        fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
        selection = BlockSelection(**{**fields, "negligible": mask_to_lists(skipped, 2)})
    leaves = qkv(n, m, h=h, g=g, d=d, dtype=dtype)
    leaves += [torch.randn(d, d).to(dtype) / d**0.5, torch.randn(d).to(dtype)]
    found = compare(selection, leaves, linear=scope, feature_map=feature_map)
    assert max(found) < TOLERANCE[dtype]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_of_a_token_may_lie_apart(layout: str) -> None:
    selection = random_selection(2, 64, 64, (32, 16))
    leaves = [LAYOUTS[layout](x) for x in qkv(64, 64)]
    grad = LAYOUTS[layout](torch.randn(1, 2, 64, 32))

    def run(backend: str):  # type: ignore[no-untyped-def]
        return lambda *x: sla_attention(*x, selection=selection, backend=backend)

    exact = [x.double() for x in leaves]
    expected = value_and_gradients(run("reference"), exact, grad.double())
    found = value_and_gradients(run("triton"), leaves, grad)
    assert max(errors(found, expected)) < TOLERANCE[torch.float32]


def test_lists_and_biases_may_be_views() -> None:
    selection = random_selection(2, 100, 100, (32, 16))
    view = replace(selection, indices=apart(selection.indices), counts=apart(selection.counts))
    leaves = [*qkv(100, 100), torch.randn(32, 32).T, apart(torch.randn(32))]
    assert max(compare(view, leaves)) < TOLERANCE[torch.float32]


@pytest.mark.usefixtures("poisoned_lanes", "poisoned_empty")
def test_one_token() -> None:
    """The gradients of q and k are differences of products of size 10: zero but for rounding."""
    leaves = [*qkv(1, 1), torch.randn(32, 32), torch.randn(32)]
    assert max(compare(random_selection(2, 1, 1, (64, 64)), leaves)) < 1e-5


@pytest.mark.usefixtures("bfloat16_products")
def test_bfloat16_runs() -> None:
    q, k, v = leaves = qkv(100, 130, dtype=torch.bfloat16)
    selection, grad = random_selection(2, 100, 130, (32, 16)), torch.randn(1, 2, 100, 32)
    lists = selection.lists
    out, lse = launch.sparse_attention_forward(q, k, v, lists, 0.2)
    grads = launch.sparse_attention_backward(grad.bfloat16(), q, k, v, out, lse, lists, 0.2)
    rule = Rule("all", "softmax", 1e-5)
    scope = Scope.of(rule, lists, 100, 130)
    linear = linear_launch.linear_attention_forward(q, k, v, None, None, out, scope, rule)

    def reference(q, k, v):  # type: ignore[no-untyped-def]
        return block_sparse_attention(q, k, v, selection, scale=0.2, backend="reference")

    exact = [x.double() for x in leaves]
    expected = value_and_gradients(reference, exact, grad.bfloat16().double())
    assert max(errors([out, *grads], expected)) < 2e-2
    both = sla_attention(*exact, selection=selection, scale=0.2, backend="reference")
    assert max(errors([linear], [both])) < 2e-2


def test_the_log_sum_exp() -> None:
    q, k, v = qkv(100, 130)
    selection = random_selection(2, 100, 130, (32, 16))
    run = {
        name: block_sparse_attention(q, k, v, selection, return_lse=True, backend=name)[1]
        for name in ("triton", "eager")
    }
    torch.testing.assert_close(run["triton"], run["eager"])


def test_columns_are_the_lists_turned_round() -> None:
    mask = torch.rand(2, 4, 7, 9) < 0.3
    mask[..., 5] = True
    mask[..., 2] = False
    selection = BlockSelection.from_mask(mask, block=(32, 16), num_queries=200, num_keys=144)
    columns = columns_of(selection.indices, 9, 2)
    assert int(columns.offsets[..., -1].sum()) == int(selection.counts.sum())
    for b in range(2):
        for h in range(4):
            for j in range(9):
                first, last = columns.offsets[b, h, j : j + 2].tolist()
                found = columns.rows[b, h, first:last].tolist()
                assert found == mask[b, h, :, j].nonzero()[:, 0].tolist()
    lengths = mask.sum(2).reshape(2, 2, 2, 9).sum(2)
    ordered = lengths.gather(2, columns.order.long())
    assert (ordered.diff(dim=-1) <= 0).all() and (columns.order[..., 0] == 5).all()


def test_the_backward_pass_gives_the_same_bits_every_time() -> None:
    leaves, grad = qkv(50, 50), torch.randn(1, 2, 50, 32)
    selection = select_blocks(*leaves[:2], keep=0.5, block=(32, 16))

    def call(q, k, v):  # type: ignore[no-untyped-def]
        return sla_attention(q, k, v, selection=selection, backend="triton")

    first, second = (value_and_gradients(call, leaves, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_interpreter_is_refused_bfloat16() -> None:
    q, k, v = qkv(64, 64, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="interpreter multiplies bfloat16 wrongly"):
        sla_attention(q, k, v, keep=0.5, backend="triton")


@pytest.mark.parametrize(
    ("width", "dtype", "message"),
    [(40, torch.float32, "head width 40"), (32, torch.float64, r"dtype torch\.float64")],
)
def test_what_the_kernels_do_not_know_is_refused(
    width: int, dtype: torch.dtype, message: str
) -> None:
    q, k, v = qkv(64, 64, d=width, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        sla_attention(q, k, v, keep=0.5, backend="triton")
