"""What cells understate: found by comparing with dense attention, added to their mass."""

import pytest
import torch
from torch import Tensor

from sla_kernels import (
    SparseLinearAttention,
    calibrated,
    calibration,
    corrected,
    select_rows,
    sla_attention,
)
from sla_kernels.calibration import Answers, fitted

from ..cases import qkv
from .selections import by_definition, dense

SETTINGS = {"keep": 2, "block": (16, 4), "order": "content", "summary": (4, 16), "opened": 3}
SIZES = len(SETTINGS["summary"])  # type: ignore[arg-type]


def sharp(heads: int = 2, groups: int = 2, tokens: int = 300) -> tuple[Tensor, ...]:
    """Queries that look for single keys, which cells understate."""
    return tuple(
        factor * x.double()
        for factor, x in zip((4, 1, 1), qkv(tokens, tokens, h=heads, g=groups, d=8), strict=True)
    )


def attend(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor | None, backend: str) -> Tensor:
    chosen = select_rows(q, k, v, axes=4, offsets=offsets, **SETTINGS)  # type: ignore[arg-type]
    return sla_attention(q, k, v, selection=chosen, linear=None, backend=backend)


def made(groups: int = 2) -> SparseLinearAttention:
    return SparseLinearAttention(8, linear=None, axes=4, **SETTINGS).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_no_offsets_are_zero_and_very_low_ones_leave_cells_out(backend: str) -> None:
    q, k, v = sharp()
    plain = attend(q, k, v, None, backend)
    torch.testing.assert_close(attend(q, k, v, torch.zeros(2, SIZES), backend), plain)
    low = attend(q, k, v, torch.full((2, SIZES), -1e6), backend)
    chosen = select_rows(q, k, v, axes=4, **SETTINGS)  # type: ignore[arg-type]
    mask = chosen.token_mask()
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(low, exact)


def test_values_and_gradients_with_offsets_equal_the_definition() -> None:
    leaves = [x.requires_grad_() for x in sharp(heads=4)]
    offsets = torch.tensor([[0.3, 0.7], [-0.2, 0.1]])
    found = []
    for run in (attend, defined):
        out = run(*leaves, offsets, "eager")
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        found.append([out, *torch.autograd.grad((out * weights).sum(), leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def defined(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, _: str) -> Tensor:
    chosen = select_rows(q, k, v, axes=4, offsets=offsets, **SETTINGS)  # type: ignore[arg-type]
    return by_definition(q, k, v, chosen)


def test_correction_brings_answers_nearer_to_dense_ones_on_other_tokens() -> None:
    module = made()
    q, k, v = sharp()
    torch.manual_seed(1)
    others = sharp()
    before = (module(*others) - dense(*others)).norm()
    with corrected(module):
        module(q, k, v)
    assert module.offsets is not None and module.offsets.shape == (2, SIZES)
    assert (module.offsets > 0).any()
    assert (module(*others) - dense(*others)).norm() < 0.98 * before


def test_the_numbers_that_were_taken_away_are_found_again() -> None:
    """Answers whose cells weigh too little by known factors, in each head and size."""
    torch.manual_seed(0)
    masses, outputs = torch.randn(2, 400, 3), torch.randn(2, 400, 3, 8)
    right = masses.softmax(2)
    target = (right[..., None] * outputs).sum(2)
    taken = torch.tensor([[0.5, 0.2], [0.0, 1.0]])
    low = masses - torch.cat([torch.zeros(2, 1), taken], 1)[:, None]
    found = fitted([Answers(low, outputs, target)], 2, 2)
    torch.testing.assert_close(found, taken, atol=0.02, rtol=0)


def test_a_head_whose_values_are_zero_is_asked_nothing_and_spoils_no_other() -> None:
    q, k, v = sharp()
    found = []
    for factor in (1, 0):
        v[:, 1] *= factor
        module = made()
        with corrected(module):
            module(q, k, v)
        found.append(module.offsets)
    torch.testing.assert_close(found[1][1], torch.zeros(SIZES))
    torch.testing.assert_close(found[1][0], found[0][0], atol=0.05, rtol=0)
    assert found[0][0].abs().max() > 0.1


@pytest.mark.parametrize("watching", [calibrated, corrected])
def test_calls_with_other_heads_are_refused_and_nothing_is_stored(watching) -> None:  # type: ignore[no-untyped-def]
    module = made()
    with (
        pytest.raises(ValueError, match="k has 4 heads, and had 2 in a call before"),
        watching(module),
    ):
        module(*sharp())
        module(*sharp(heads=4, groups=4))
    assert module.directions is None and module.offsets is None and module.watch is None


def test_many_calls_are_held_by_fewer_queries_each_and_tell_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for most in (10**9, 1000):
        monkeypatch.setattr(calibration, "MOST", most)
        torch.manual_seed(0)
        module = made()
        with corrected(module):
            for _ in range(12):
                module(*sharp())
                assert isinstance(module.watch, calibration.Understated)
                held = [one.dense.shape[1] for one in module.watch.answers]
                assert sum(held) <= most
            assert len(held) == 12 and max(held) == min(held)
        found.append(module.offsets)
    torch.testing.assert_close(*found, atol=0.05, rtol=0.1)


def test_a_size_that_no_call_lists_gets_what_the_one_below_it_gets() -> None:
    torch.manual_seed(0)
    masses, outputs = torch.randn(1, 400, 2), torch.randn(1, 400, 2, 8)
    target = (masses.softmax(2)[..., None] * outputs).sum(2)
    low = masses - torch.tensor([0, 0.4])
    found = fitted([Answers(low, outputs, target)], 1, 3)
    assert found[0, 0] == pytest.approx(0.4, abs=0.02)
    assert found[0, 1] == found[0, 2] == found[0, 0]


def test_where_dense_attention_runs_there_is_nothing_to_find() -> None:
    module = made()
    q, k, v = (x[:, :, :40] for x in sharp())
    with corrected(module):
        module(q, k, v)
    assert torch.equal(module.offsets, torch.zeros(2, SIZES))


def test_what_is_understated_is_found_under_inference_mode_and_by_scene() -> None:
    """A batch of two scenes teaches what its scenes teach one after the other."""
    one, other = made(), made()
    q, k, v = (torch.cat([x, y]) for x, y in zip(sharp(), sharp(), strict=True))
    axes = torch.linalg.qr(torch.randn(16, 4)).Q
    one.directions, other.directions = axes, axes
    with torch.inference_mode(), corrected(one):
        one(q, k, v)
    with torch.no_grad(), corrected(other):
        for scene in range(2):
            other(*(x[scene : scene + 1] for x in (q, k, v)))
    assert one.offsets.abs().max() > 0.01
    torch.testing.assert_close(one.offsets, other.offsets)


def test_offsets_travel_in_the_state_dict() -> None:
    module, again = made(), made()
    with corrected(module):
        module(*sharp())
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.offsets, module.offsets)
    tokens = sharp()
    assert torch.equal(again(*tokens), module(*tokens))


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (3, 2)])
def test_offsets_of_other_heads_or_sizes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"offsets of shape .*key heads by sizes of cells"):
        attend(*sharp(), torch.zeros(shape), "eager")
