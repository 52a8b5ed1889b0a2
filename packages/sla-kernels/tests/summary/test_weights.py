"""Weights of tokens within cells where scores lie far apart: no cell is left without any."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sla_kernels import SummarySelection, select_rows, sla_attention
from sla_kernels.runtime import passes
from sla_kernels.search import choice, choose
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.weights import DEEPEST, lifted, weights_of

from ..cases import errors, value_and_gradients

SIZES = (4, 16, 64)
TOKENS = 200


def one_loud_key() -> list[Tensor]:
    q, k, v = torch.randn(3, 1, 2, TOKENS, 32).unbind()
    k[:, :, 100] = 20.0
    return [q + 2, k, v]


def large_scores() -> list[Tensor]:
    q, k, v = torch.randn(3, 1, 2, TOKENS, 32).unbind()
    return [q + 6, 10 * k, v]


def select(q: Tensor, k: Tensor, v: Tensor) -> SummarySelection:
    """Few rows, however few tokens there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "WORTH", 10.0)
        return select_rows(q, k, v, keep=3, block=(64, 4), summary=SIZES, opened=2, axes=4)


def far_below(tilt: Tensor) -> Tensor:
    """How far each token is below the largest of its coarse cell."""
    parts = tilt[..., :TOKENS].split(SIZES[-1], -1)
    return torch.cat([part.amax(-1, keepdim=True) - part for part in parts], -1)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("backend", ["reference", "eager", "triton"])
@pytest.mark.parametrize("drawn", [one_loud_key, large_scores])
def test_finite_tokens_have_finite_outputs_and_gradients(
    drawn,  # type: ignore[no-untyped-def]
    backend: str,
    numba: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if backend == "triton" and torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a GPU")
    if not numba:
        monkeypatch.setattr(passes, "_installed", lambda: False)
    leaves = drawn()
    selection, grad = select(*leaves), torch.randn(leaves[0].shape)

    def run(name: str):  # type: ignore[no-untyped-def]
        return lambda *x: sla_attention(*x, selection=selection, linear=None, backend=name)

    found = value_and_gradients(run(backend), leaves, grad)
    expected = value_and_gradients(run("eager"), [x.double() for x in leaves], grad.double())
    assert all(x.isfinite().all() for x in found)
    assert max(errors(found, expected)) < 1e-3  # scores of hundreds, rounded


def test_the_kernels_of_the_choice_leave_no_token_further_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a GPU")
    leaves = one_loud_key()
    expected = select(*leaves)
    assert far_below(expected.tilt).max() == pytest.approx(DEEPEST)
    monkeypatch.setattr(choose, "has_kernels", lambda device: True)
    found = select(*leaves)
    torch.testing.assert_close(found.tilt, expected.tilt, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(
    tokens=st.integers(1, 150),
    spread=st.floats(0, 1000),
    sizes=st.sampled_from([(1,), (4,), (4, 16), (2, 8, 64)]),
    seed=st.integers(0, 99),
)
def test_every_cell_has_weight_and_what_is_not_far_below_keeps_its_own(
    tokens: int, spread: float, sizes: tuple[int, ...], seed: int
) -> None:
    layout = Layout(tokens, 0, sizes)
    tilt = torch.full((1, 1, layout.padded), -torch.inf)
    drawn = torch.rand(tokens, generator=torch.Generator().manual_seed(seed))
    tilt[..., :tokens] = spread * drawn
    made = lifted(tilt, layout)
    near = spread < DEEPEST
    assert torch.equal(made, tilt) or not near
    assert torch.equal(made[..., tokens:], tilt[..., tokens:])
    assert (made >= tilt).all() and made.max() == tilt.max()
    found = weights_of(made, layout)
    for size, total, entropy in zip(sizes, found.totals, found.entropies, strict=True):
        assert (total > 0).all()
        assert entropy.isfinite().all() and (entropy < math.log(size) + 1e-4).all()
