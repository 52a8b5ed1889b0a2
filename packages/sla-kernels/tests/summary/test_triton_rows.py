"""The Triton kernels of listed rows in the interpreter: values, every gradient, poisoned memory."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sla_kernels import SummarySelection, explain, select_rows, sla_attention
from sla_kernels.order import launch as order_launch
from sla_kernels.runtime.passes import passes_for
from sla_kernels.search import choice, launch_cells
from sla_kernels.search import launch as search_launch
from sla_kernels.search.choose import Plan, choose_rows
from sla_kernels.summary import eager, launch, op
from sla_kernels.summary.layout import RowLists
from sla_kernels.summary.rows import ABSENT, Rows

from ..cases import LAYOUTS, apart, errors, named, qkv, value_and_gradients

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the interpreter is for machines without a GPU"
)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3}  # difference over norm, against float64


class Case(NamedTuple):
    """Sizes of a call: tokens, keys, heads, key heads, width, query block, pinned."""

    n: int
    m: int
    h: int
    g: int
    d: int
    block_q: int
    pins: int


CASES = [
    Case(131, 131, 2, 2, 64, 64, 0),
    Case(97, 97, 2, 1, 32, 16, 3),
    Case(70, 130, 4, 2, 32, 32, 0),
    Case(66, 66, 1, 1, 96, 64, 1),
    Case(129, 129, 1, 1, 128, 128, 0),
]
TYPED = [  # in half precision, other cases take the same way again
    *((case, torch.float32) for case in CASES),
    *((case, torch.float16) for case in CASES[1:4:2]),
    *(pytest.param(CASES[i], torch.float16, marks=pytest.mark.nightly) for i in (0, 2, 4)),
]


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """List few rows however few tokens there are."""
    monkeypatch.setattr(choice, "WORTH", 10.0)


def select(q: Tensor, k: Tensor, v: Tensor, **options: object) -> SummarySelection:
    plan = {"keep": 3, "block": (64, 4), "summary": (4, 16), "opened": 2, "axes": 4, **options}
    return select_rows(q, k, v, **plan)


def drawn_rows(listed: int, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Rows, Tensor]:
    """Queries, rows and lists of two key heads that serve two heads each."""
    keys, values = (torch.randn(1, 2, 50, 32).to(dtype) for _ in range(2))
    bias = torch.randn(1, 2, 50)
    keys[:, :, -1], values[:, :, -1], bias[:, :, -1] = 0, 0, ABSENT
    lists = torch.stack([torch.randperm(49)[:listed] for _ in range(4 * 2)]).int()
    return torch.randn(1, 4, 40, 32).to(dtype), Rows(keys, values, bias), lists.view(1, 4, 2, -1)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize(("case", "dtype"), TYPED, ids=named)
def test_values_and_gradients_equal_the_reference(case: Case, dtype: torch.dtype) -> None:
    leaves = qkv(case.n, case.m, h=case.h, g=case.g, d=case.d, dtype=dtype)
    pinned = torch.randperm(case.n)[: case.pins] if case.pins else None
    selection = select(*leaves, block=(case.block_q, 4), pinned=pinned)
    grad = torch.randn(leaves[0].shape).to(dtype)

    def run(backend: str):  # type: ignore[no-untyped-def]
        def call(q, k, v):  # type: ignore[no-untyped-def]
            return sla_attention(q, k, v, selection=selection, linear=None, backend=backend)

        return call

    found = value_and_gradients(run("triton"), leaves, grad)
    exact = [x.double() for x in leaves]
    expected = value_and_gradients(run("eager"), exact, grad.double())
    assert max(errors(found, expected)) < TOLERANCE[dtype]
    assert max(errors(found[:1], [run("reference")(*exact)])) < TOLERANCE[dtype]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("keys", [96, 128])
def test_numbers_of_a_token_may_lie_apart(keys: int, layout: str) -> None:
    leaves, grad = qkv(96, keys, h=1, g=1), torch.randn(1, 1, 96, 32)
    selection = select(*leaves)
    *moved, pulled = (LAYOUTS[layout](x) for x in (*leaves, grad))
    assert torch.equal(select(*moved).rows, selection.rows)

    def run(backend: str):  # type: ignore[no-untyped-def]
        return lambda *x: sla_attention(*x, selection=selection, linear=None, backend=backend)

    expected = value_and_gradients(run("reference"), [x.double() for x in leaves], grad.double())
    for backend in ("eager", "triton"):
        found = value_and_gradients(run(backend), moved, pulled)
        assert max(errors(found, expected)) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("listed", [1, 32, 33])
def test_a_list_may_end_anywhere_in_a_tile(listed: int) -> None:
    q, rows, lists = drawn_rows(listed)
    out, lse = launch.summary_attention_forward(q, rows, lists, 32, 0.2)
    torch.testing.assert_close(out, eager.summary_attention_forward(q, rows, lists, 32, 0.2))
    grad = torch.randn_like(q)
    found = launch.summary_attention_backward(grad, q, rows, out, lse, lists, 32, 0.2)
    expected = eager.summary_attention_backward(grad, q, rows, lists, 32, 0.2)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_lists_filled_up_with_nothing_attend_only_what_is_there() -> None:
    q, rows, lists = drawn_rows(9)
    nothing = torch.full((1, 4, 2, 40), 49, dtype=torch.int32)
    filled = torch.cat([nothing, lists, nothing], 3)  # whole tiles hold nothing, the first too
    found, plain = (launch.summary_attention_forward(q, rows, x, 32, 0.2) for x in (filled, lists))
    torch.testing.assert_close(found, plain)
    grad = torch.randn_like(q)
    pulled, expected = (
        launch.summary_attention_backward(grad, q, rows, *made, x, 32, 0.2)
        for made, x in ((found, filled), (plain, lists))
    )
    torch.testing.assert_close(pulled, expected)


def test_a_list_of_nothing_alone_gives_zeros_and_no_nan() -> None:
    q, rows, lists = drawn_rows(40)
    lists[:, :, 1] = 49  # of queries 32 to 40
    out, lse = launch.summary_attention_forward(q, rows, lists, 32, 0.2)
    assert (out[:, :, 32:] == 0).all()
    made = launch.summary_attention_backward(torch.randn_like(q), q, rows, out, lse, lists, 32, 0.2)
    assert all(x.isfinite().all() for x in made)


@pytest.mark.parametrize("tiles", [2, pytest.param(5, marks=pytest.mark.nightly), 1000])
def test_a_small_buffer_changes_no_gradient(tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, rows, lists = drawn_rows(40)
    out, lse = launch.summary_attention_forward(q, rows, lists, 32, 0.2)
    grad = torch.randn_like(q)
    expected = eager.summary_attention_backward(grad, q, rows, lists, 32, 0.2)
    monkeypatch.setattr(launch, "BUFFER_BYTES", tiles * 2 * 4 * 40 * 32)
    found = [
        launch.summary_attention_backward(grad, q, rows, out, lse, lists, 32, 0.2) for _ in range(2)
    ]
    for one, again, other in zip(*found, expected, strict=True):
        assert torch.equal(one, again)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_lists_turned_round_name_every_entry_once_and_in_order() -> None:
    numbers = torch.randint(0, 30, (200,), dtype=torch.int32)
    places, offsets = launch.turned_round(numbers, 33)
    for row in range(33):
        found = places[offsets[row] : offsets[row + 1]]
        assert torch.equal(found, (numbers == row).nonzero()[:, 0])


def test_rounded_rows_are_rounded_once() -> None:
    leaves = qkv(131, 131, d=64, dtype=torch.float16)
    selection = select(*leaves)
    exact = [x.double() for x in leaves]
    expected = sla_attention(*exact, selection=selection, linear=None, backend="reference")
    found = sla_attention(*leaves, selection=selection, linear=None, backend="triton")
    whole = sla_attention(*leaves, selection=selection, linear=None, backend="eager")
    assert errors([found], [expected])[0] < 3 * errors([whole], [expected])[0] + 5e-4


def test_the_linear_branch_runs_beside_listed_rows() -> None:
    leaves = qkv(100, 100)
    selection = select(*leaves)
    found, expected = (
        sla_attention(*leaves, selection=selection, backend=name) for name in ("triton", "eager")
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_backward_pass_takes_up_output_and_log_sum_exp_on_a_gpu_alone() -> None:
    q, k, v = (x.requires_grad_() for x in qkv(100, 100))
    selection = select(q, k, v)
    kept = {}
    for name in ("eager", "triton"):
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x) or x, lambda x: x
        ):
            out = sla_attention(q, k, v, selection=selection, linear=None, backend=name)
        kept[name] = [x.shape for x in saved if x.dtype == torch.float32]
    assert kept["triton"] == [*kept["eager"][:3], out.shape, out.shape[:3], *kept["eager"][3:]]


def test_a_query_block_that_no_tile_divides_is_refused() -> None:
    q, k, v = qkv(100, 100)
    for size in (8, 48):
        selection = select(q, k, v, block=(size, 4))
        with pytest.raises(ValueError, match=r"block=\(\d+, 4\) with backend='triton'; the query"):
            sla_attention(q, k, v, selection=selection, linear=None, backend="triton")


def test_explain_names_the_tiles_of_listed_rows() -> None:
    q, k, v = qkv(100, 100)
    found = explain(q, k, selection=select(q, k, v, block=(32, 4)), backend="triton")
    assert found.tile.startswith("forward 16 by 32")
    assert "; backward 16 by 16" in found.tile
    eager_tile = explain(q, k, selection=select(q, k, v), backend="eager").tile
    assert "with their gathered rows" in eager_tile
    assert eager_tile.endswith("compiled by Numba") == (passes_for(q) is not None)


def test_a_choice_that_kernels_leave_to_pytorch_reads_no_value_either() -> None:
    q, k, v = (x.to("meta") for x in qkv(700, 700, h=2, g=2, d=256))
    outside, axes = torch.empty(0, dtype=torch.int64, device="meta"), torch.empty(512, 4)
    given = torch.empty(1, 700, dtype=torch.int64, device="meta")
    plan = Plan(3, 2, 64, (4, 16), True, 4, True, 0.2)
    order, rows, tilt = choose_rows(q, k, v, outside, axes.to("meta"), given, plan)
    assert order.shape == (1, 700) and rows.shape[:3] == (1, 2, 11) and tilt.shape == (1, 2, 700)


@pytest.mark.parametrize("pins", [0, 3])
def test_no_step_beside_the_kernels_reads_a_value(
    pins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device there is none to read: what runs there makes no host wait for a GPU."""
    for module in (launch, search_launch, launch_cells, order_launch):
        monkeypatch.setattr(module, "launched", lambda name: Launches())
    q, k, v = (x.to(torch.bfloat16).to("meta") for x in qkv(700, 700, h=4, g=2, d=32))
    outside = torch.empty(pins, dtype=torch.int64, device="meta")
    axes = torch.empty(64, 4, device="meta")
    plan = Plan(3, 2, 64, (4, 16), True, 4, True, 0.2)
    found = choose_rows(q, k, v, outside, axes, None, plan)
    lists = RowLists(*found, outside, 64, (4, 16), None)
    out, lse = op.summary_attention_forward(q, k, v, lists, 0.2, "triton")
    made = op.summary_attention_backward(out, q, k, v, out, lse, lists, 0.2, "triton")
    assert [x.shape for x in (out, *made)] == [q.shape, q.shape, k.shape, v.shape]


class Launches:
    """Stands in for a kernel: takes any grid and any arguments."""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *_, **__: None


def test_positions_and_lists_may_be_views() -> None:
    q, k, v = (x.requires_grad_() for x in qkv(131, 131, d=32))
    chosen = select(q, k, v, pinned=torch.tensor([3, 50, 90]))
    names = ("order", "outside", "rows", "tilt")
    view = replace(chosen, **{name: apart(getattr(chosen, name)) for name in names})

    def run(selection: SummarySelection, backend: str) -> list[Tensor]:
        out = sla_attention(q, k, v, selection=selection, linear=None, backend=backend)
        return [out, *torch.autograd.grad(out.square().sum(), (q, k, v))]

    for found, expected in zip(run(view, "triton"), run(chosen, "eager"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_grouped_heads_that_attend_every_key_are_dense_and_equal_their_lists() -> None:
    leaves, grad = qkv(97, 97, h=4, g=2), torch.randn(1, 4, 97, 32)
    selection = select_rows(*leaves, keep=1.0, block=(16, 4), pinned=torch.tensor([3, 50]))
    told = explain(*leaves[:2], selection=selection)
    assert (told.backend, told.density) == ("dense", 1.0)

    def run(backend: str) -> list[Tensor]:
        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return sla_attention(q, k, v, selection=selection, linear=None, backend=backend)

        return value_and_gradients(call, leaves, grad)

    assert max(errors(run("auto"), run("triton"))) <= TOLERANCE[torch.float32]
