"""What calibration stored, kept at float32 or dropped; and models that attend all of few tokens."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sla_kernels import (
    SparseLinearAttention,
    attend_all_below,
    calibrate,
    change_dtype,
    forget_calibration,
    share_blocks,
    short_on,
    stored_calibration,
)

from .cases import qkv


@pytest.fixture
def model() -> nn.ModuleDict:
    attention = SparseLinearAttention(8, keep=2, block=(16, 4), order="content", summary=(4,))
    attention.directions, attention.offsets = torch.rand(16, 4), torch.rand(2, 1)
    return nn.ModuleDict({"attention": attention, "layer": nn.Linear(8, 8)})


def test_the_number_type_changes_but_not_that_of_what_is_stored(model: nn.ModuleDict) -> None:
    before = {name: found.clone() for name, found in stored_calibration(model).items()}
    assert set(before) == {"attention.directions", "attention.offsets"}
    change_dtype(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, found in stored_calibration(model).items():
        assert torch.equal(found, before[name])


def test_weights_that_another_model_shares_stay_as_they_are_there(model: nn.ModuleDict) -> None:
    shared = copy.deepcopy(model, memo={id(p): p for p in model.parameters()})
    change_dtype(shared, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("names", [("offsets",), ("directions", "offsets"), ()])
def test_what_is_named_is_forgotten_and_all_where_nothing_is(
    model: nn.ModuleDict, names: tuple[str, ...]
) -> None:
    forget_calibration(model, *names)
    left = {"directions", "offsets"} - set(names or ("directions", "offsets"))
    assert {name.rpartition(".")[2] for name in stored_calibration(model)} == left


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("linear", ["all", None])
def test_what_is_loaded_is_where_the_model_is(linear: str | None) -> None:
    """A device that is surely there stands in for a GPU."""
    options = {"keep": 2, "block": (16, 4), "order": "content", "summary": (4,), "linear": linear}
    saved, model = (nn.ModuleList([SparseLinearAttention(8, **options)]) for _ in range(2))
    saved[0].directions, saved[0].offsets = torch.rand(16, 4), torch.rand(2, 1)
    model.to("meta").load_state_dict(saved.state_dict())
    assert set(model.state_dict()) == set(saved.state_dict())
    assert {x.device.type for x in model.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("offsets", [True, False])
def test_what_was_found_before_makes_room_for_what_is_found_now(offsets: bool) -> None:
    model = nn.ModuleList([rows()])
    model[0].directions, model[0].offsets = torch.rand(64, 2), torch.full((2, 2), 9.0)
    before, runs = model[0].directions, []

    def run() -> None:
        runs.append(model[0](*qkv(300, 300)))

    calibrate(model, run, offsets=offsets)
    assert len(runs) == 1 + offsets
    assert not torch.equal(model[0].directions, before)
    found = model[0].offsets
    assert (found < 9.0).all() if offsets else found is None


def test_calibration_is_the_same_whatever_was_found_before() -> None:
    """What the first layer answers, and so what the second sees, depends on its axes."""
    models = [nn.ModuleList([rows(), rows()]) for _ in range(2)]
    models[1][0].directions = models[1][1].directions = torch.zeros(64, 2)
    q, k, v = qkv(300, 300)
    for model in models:
        calibrate(model, lambda model=model: model[1](q, model[0](q, k, v), v))
    found, others = (stored_calibration(model) for model in models)
    assert len(found) == 4 and all(torch.equal(found[name], others[name]) for name in found)


def rows(summary: tuple[int, ...] | None = (4, 16)) -> SparseLinearAttention:
    return SparseLinearAttention(
        32, keep=2, block=(16, 4), order="content", summary=summary, opened=2, axes=2, linear=None
    )


@pytest.mark.parametrize("summary", [(4, 16), None])
def test_a_model_that_runs_attends_every_key_where_there_are_few(
    summary: tuple[int, ...] | None,
) -> None:
    model = nn.ModuleList([rows(summary), SparseLinearAttention(32, keep=0.5)])
    tiles = model[1].choice
    q, k, v = qkv(256, 256, d=32)
    assert model[0].selection(q, k, v).density < 0.2
    attend_all_below(model, 257)
    assert model[0].selection(q, k, v).density == 1
    dense = nn.functional.scaled_dot_product_attention(
        q, *(x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    )
    torch.testing.assert_close(model[0](q, k, v), dense)
    assert model[1].choice == tiles


@pytest.mark.parametrize("tokens", [0, 256])
def test_from_that_number_on_it_chooses_again(tokens: int) -> None:
    model = rows()
    q, k, v = qkv(256, 256, d=32)
    before = model.selection(q, k, v)
    attend_all_below(model, 999)
    attend_all_below(model, tokens)
    assert torch.equal(model.selection(q, k, v).rows, before.rows)


def test_a_device_that_nothing_is_known_of_always_chooses() -> None:
    assert short_on("mps") == 0 < short_on(torch.device("cuda", 0))


def test_fewer_tokens_than_none_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens=-1; it must be at least 0"):
        attend_all_below(rows(), -1)


CHANGES = st.floats(0, 10)


@given(st.integers(1, 512), CHANGES, st.lists(CHANGES, min_size=1, max_size=30))
def test_shared_blocks_stay_as_many_and_go_where_more_changes(
    keep: int, change: float, halved: list[float]
) -> None:
    found = share_blocks(keep, change, halved)
    layers = len(halved)
    assert len(found) == layers and min(found) >= 1
    assert abs(sum(found) - keep * layers) <= layers  # rounding, and one block at least
    by_change = [blocks for _, blocks in sorted(zip(halved, found, strict=True))]
    assert by_change == sorted(by_change)


@given(st.lists(st.floats(0.01, 5), min_size=2, max_size=12), st.integers(64, 256))
def test_shared_blocks_are_right_where_layers_add_up(added: list[float], keep: int) -> None:
    def change(blocks: list[float]) -> float:
        return math.sqrt(sum(a / k for a, k in zip(added, blocks, strict=True)))

    layers = len(added)
    halved = [
        change([keep / 2 if i == layer else keep for i in range(layers)]) for layer in range(layers)
    ]
    even = [float(keep)] * layers
    shared = share_blocks(keep, change(even), halved)
    assert change([float(k) for k in shared]) <= change(even) * (1 + 2 / keep)


@given(st.lists(st.floats(1, 4), min_size=2, max_size=8), st.integers(64, 256))
def test_no_other_shares_change_less(added: list[float], keep: int) -> None:
    """The least of a sum of a / k, at one sum of k, is the square of the sum of roots over it."""
    even = math.sqrt(sum(added) / keep)
    halved = [math.sqrt((sum(added) + one) / keep) for one in added]
    shared = share_blocks(keep, even, halved)
    changed = sum(a / k for a, k in zip(added, shared, strict=True))
    least = sum(map(math.sqrt, added)) ** 2 / sum(shared)
    assert least * (1 - 1e-9) <= changed <= least * (1 + 1 / keep)


def test_layers_that_change_nothing_share_alike() -> None:
    assert share_blocks(64, 0.3, [0.3, 0.2, 0.3]) == (64, 64, 64)


@pytest.mark.parametrize(
    "keep, change, halved, words",
    [
        (0, 0.1, [0.1], "keep=0"),
        (4, 0.1, [], "0 layers"),
        (4, -0.1, [0.1], "change=-0.1"),
        (4, 0.1, [math.nan], "nan"),
        (4, math.inf, [0.1], "inf"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    keep: int, change: float, halved: list[float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        share_blocks(keep, change, halved)


@pytest.mark.parametrize("tokens", [300, 20])
def test_what_is_found_under_inference_mode_can_be_trained_with_and_loaded_into(
    tokens: int,
) -> None:
    model, (q, k, v) = nn.ModuleList([rows()]), qkv(300, 300)
    with torch.inference_mode():
        calibrate(model, lambda: model[0](q[:, :, :tokens], k[:, :, :tokens], v[:, :, :tokens]))
    other = nn.ModuleList([rows()])
    with torch.inference_mode():
        other.load_state_dict(model.state_dict())
    for one in (model, other):
        one.load_state_dict(model.state_dict())
        assert torch.autograd.grad(one[0](q.requires_grad_(), k, v).sum(), q)[0].any()


def test_a_broken_key_leaves_axes_that_tell_tokens_apart() -> None:
    model, (q, k, v) = nn.ModuleList([rows()]), qkv(300, 300)
    calls = [k.index_fill(2, torch.tensor([7]), broken) for broken in (math.nan, math.inf, 0.0)]
    found = []
    for keys in calls:
        calibrate(model, lambda keys=keys: model[0](q, keys, v), offsets=False)
        found.append(model[0].directions)
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[2])


@pytest.mark.parametrize("calls", [0, 1])
def test_what_was_found_before_outlives_a_run_that_fails(calls: int) -> None:
    model, tokens = nn.ModuleList([rows()]), qkv(300, 300)
    calibrate(model, lambda: model[0](*tokens))
    before, ran = stored_calibration(model), []

    def run() -> None:
        if len(ran) == calls:
            raise KeyboardInterrupt
        ran.append(model[0](*qkv(300, 300)))

    with pytest.raises(KeyboardInterrupt):
        calibrate(model, run)
    after = stored_calibration(model)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_name_of_nothing_that_is_stored_is_refused(model: nn.ModuleDict) -> None:
    with pytest.raises(ValueError, match="stored='axes'; it must be known: pass one of 'directi"):
        forget_calibration(model, "axes")
    assert len(stored_calibration(model)) == 2
