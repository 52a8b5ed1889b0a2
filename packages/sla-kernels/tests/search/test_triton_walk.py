"""The kernels that choose rows, in Triton's interpreter, against PyTorch's operations."""

from typing import NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from sla_kernels.search import choose
from sla_kernels.search import launch as search_launch
from sla_kernels.search.choose import Plan, choose_rows
from sla_kernels.search.kernels import _pick_largest
from sla_kernels.summary.layout import Layout, budget_of

from ..cases import qkv

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the interpreter is for machines without a GPU"
)


class Case(NamedTuple):
    """Sizes of a call: queries, keys, heads, key heads, pinned; then how rows are chosen."""

    n: int
    m: int
    h: int
    g: int
    pins: int
    exact: int
    opened: int
    block_q: int
    sizes: tuple[int, ...]
    width: int = 32
    summaries: bool = True


CASES = [
    Case(131, 131, 2, 2, 0, 3, 2, 64, (4, 16)),
    Case(203, 203, 4, 2, 3, 5, 3, 32, (4, 16, 64)),
    Case(70, 300, 2, 1, 0, 6, 2, 16, (4, 16, 64), 24, False),
    Case(150, 150, 1, 1, 70, 2, 1, 64, (8, 64), 24),
    Case(97, 97, 2, 1, 1, 4, 2, 128, (16,)),
    Case(97, 517, 1, 1, 1, 3, 2, 64, (64,)),
    Case(40, 233, 1, 1, 2, 200, 9, 64, (1, 8)),
    Case(331, 331, 2, 1, 2, 6, 3, 256, (4, 12, 60)),
]


PINNED = Case(97, 97, 2, 2, 3, 3, 2, 32, (4, 16))


def chosen(case: Case, leaves: list[Tensor], *, kernels: bool) -> tuple[Tensor, ...]:
    """Order, lists and tilts, by the kernels or without."""
    scale = case.width**-0.5
    plan = Plan(case.exact, case.opened, case.block_q, case.sizes, True, 4, case.summaries, scale)
    outside = torch.arange(2 * case.pins)[::2]  # a view, as positions may be
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "has_kernels", lambda device: kernels)
        return choose_rows(*leaves, outside, None, None, plan)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_lists_and_tilts_equal_those_of_pytorch(case: Case) -> None:
    leaves = qkv(case.n, case.m, h=case.h, g=case.g, d=case.width)
    order, rows, tilt = chosen(case, leaves, kernels=False)
    found = chosen(case, leaves, kernels=True)
    assert torch.equal(found[0], order)
    assert found[1].shape == rows.shape and found[1].dtype == rows.dtype
    assert torch.equal(found[1].sort(3).values, rows.sort(3).values)
    torch.testing.assert_close(found[2], tilt, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [64, 1024])
def test_the_largest_are_found_two_bits_at_a_time_or_one(width: int) -> None:
    """Ties go to the last; what is missing comes after all, and nothing outside is taken."""
    values = torch.rand(width) * 10 ** torch.randint(-30, 30, (width,)).double()
    values[: width // 2] = values[7]
    values[width // 3 :: 5] = 0
    for chosen in (1, 5, width // 2, width - 9):
        taken, places = torch.zeros(2, width, dtype=torch.int32)
        pick_kernel[(1,)](values.float(), taken, places, chosen, width - 8, WIDTH=width)
        order = sorted(range(width - 8), key=lambda i: (i != 3, values.float()[i].item(), i))
        assert taken.nonzero()[:, 0].tolist() == sorted(order[-chosen:])
        assert torch.equal(places, taken.cumsum(0).int() - 1)


@triton.jit
def pick_kernel(  # type: ignore[no-untyped-def]
    Values, Taken, Places, chosen, inside, WIDTH: tl.constexpr
):
    """Mark the largest, and number them; the fourth is missing."""
    lane = tl.arange(0, WIDTH)
    values = tl.load(Values + lane)
    taken, place = _pick_largest(values, lane == 3, lane < inside, chosen, WIDTH)
    tl.store(Taken + lane, taken.to(tl.int32))
    tl.store(Places + lane, place)


@pytest.mark.usefixtures("poisoned_empty")
def test_scenes_are_read_where_they_lie() -> None:
    """Queries, keys and values as a projection leaves them: side by side in one tensor."""
    case = PINNED
    together = torch.randn(2, case.n, 3, 2, 32)
    leaves = [x.transpose(1, 2) for x in together.unbind(2)]
    _, rows, tilt = chosen(case, [x.contiguous() for x in leaves], kernels=False)
    found = chosen(case, leaves, kernels=True)
    assert torch.equal(found[1].sort(3).values, rows.sort(3).values)
    torch.testing.assert_close(found[2], tilt, rtol=1e-4, atol=1e-5)


def test_a_broken_token_breaks_no_list() -> None:
    case = PINNED
    leaves = qkv(case.n, case.n, h=case.h, g=case.g, d=case.width)
    for x, at in zip(leaves, (10, 37, 77), strict=True):
        x[:, :, at] = torch.nan
    _, rows, tilt = chosen(case, leaves, kernels=True)
    assert (rows >= 0).all() and not tilt.isnan().any()
    ranks = rows.sort(3).values
    nothing = Layout(case.n - case.pins, case.pins, case.sizes).nothing
    twice = (ranks[..., 1:] == ranks[..., :-1]) & (ranks[..., 1:] != nothing)
    assert not twice.any()


@pytest.mark.parametrize(("width", "fit"), [(8, True), (128, True), (256, False)])
def test_heads_too_wide_for_the_smallest_gpu_are_left_to_pytorch(width: int, fit: bool) -> None:
    layout = Layout(300, 0, (4, 64))
    q = torch.empty(1, 1, 300, width)
    assert search_launch.fits(q, layout, budget_of(4, 2, layout), 64) == fit


@pytest.mark.parametrize(
    ("block_q", "exact", "fit"), [(128, 2048, True), (256, 1024, True), (256, 1025, False)]
)
def test_as_many_candidates_are_taken_as_every_gpu_holds(
    block_q: int, exact: int, fit: bool
) -> None:
    """`benchmarks/compiled_code.py` compiles both limits, "cells_many" and "cells_wide"."""
    layout = Layout(44_000, 0, (4, 64))
    q = torch.empty(1, 1, 44_000, 128, dtype=torch.bfloat16, device="meta")
    budget = budget_of(exact, 20, layout)
    assert search_launch.fits(q, layout, budget, block_q) == fit
    assert budget.candidates[0] <= search_launch.scored(block_q) or not fit
