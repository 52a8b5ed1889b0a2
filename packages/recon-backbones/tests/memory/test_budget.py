"""A budget is kept, what was given up is said, and what is free is counted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from recon_backbones import Backbone, Memory, list_backbones, load_backbone
from recon_backbones.machine.free import FREE_SHARE, available, beyond_pytorch
from recon_backbones.views import plan as plan_module
from recon_backbones.views.memory import Work, footprint
from recon_backbones.views.plan import ANYWAY, PLENTY, Plan, Situation, make_plan, needed, thriftier
from recon_backbones.views.run import Views, _situation

from ..short import short
from .situations import SITUATION


def test_a_gpu_lets_tokens_wait_before_it_gives_up_precision() -> None:
    on_gpu = replace(SITUATION, device="cuda", held=0)
    options = Memory(budget="64GB", precision="auto")
    one_at_a_time = needed(replace(make_plan(options, on_gpu), head_chunk=1), on_gpu)
    plan = make_plan(replace(options, budget=str(one_at_a_time - 1)), on_gpu)
    assert plan.stream and plan.half is None and plan.whole
    assert "host's memory" in plan.describe()


def test_every_step_of_the_ladder_needs_less() -> None:
    plan: Plan | None = Plan(views=8, window=8, overlap=2)
    last = None
    while plan is not None:
        now = needed(plan, SITUATION)
        assert last is None or now < last
        last, plan = now, thriftier(plan)
        assert plan is None or plan.overlap < plan.window


def test_a_budget_is_kept_and_what_was_given_up_is_said() -> None:
    whole = make_plan(Memory(budget="64GB"), SITUATION)
    assert whole.whole
    assert whole.head_chunk == 8
    assert whole.why == ()
    assert whole.needs is not None
    last = whole
    windows = needed(Plan(views=8, window=4, overlap=1, head_chunk=1), SITUATION)
    for budget in (whole.needs - 1_000_000, windows):
        plan = make_plan(Memory(budget=str(budget)), SITUATION)
        assert plan.needs is not None
        assert plan.needs <= budget
        assert needed(plan, SITUATION) == plan.needs
        assert "would need" in plan.why[0]
        assert (plan.window, -plan.head_chunk) <= (last.window, -1)
        last = plan
    assert not last.whole
    assert any("drift" in sentence for sentence in last.why)


def beyond_weights(plan: Plan, situation: Situation) -> tuple[int, int]:
    """Bytes that a plan needs beside what is held and the weights, and those of the weights."""
    work = Work(views=plan.window, height=situation.height, width=situation.width)
    weights = footprint(situation.backbone, work).weights
    return needed(plan, situation) - situation.held - weights, weights


@given(held=st.integers(0, 10**9), loaded=st.floats(0, 1), device=st.sampled_from(["cpu", "cuda"]))
@settings(deadline=None)
def test_what_is_loaded_need_not_be_free_again(held: int, loaded: float, device: str) -> None:
    """Free memory lacks it already, so all at once needs the rest and no byte more."""
    situation = replace(SITUATION, held=held, device=device)
    whole = Plan(views=8, window=8, overlap=2)
    more, weights = beyond_weights(whole, situation)
    there = int(loaded * weights)
    for spare in (0, -1):
        free = more + weights - there + spare
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan_module, "available", lambda _, free=free: free)
            plan = make_plan(Memory(), replace(situation, loaded=there))
        assert (plan.head_chunk == 8 and plan.whole) == (spare == 0)


def test_a_budget_is_of_everything_loaded_weights_included() -> None:
    whole = make_plan(Memory(budget="64GB"), SITUATION)
    assert whole.needs is not None
    budget = Memory(budget=str(whole.needs - 1))
    loaded = replace(SITUATION, loaded=10**9)
    assert make_plan(budget, loaded) == make_plan(budget, SITUATION) != whole


def test_weights_in_memory_are_loaded_and_those_of_a_mapped_file_are_free(tmp_path: Path) -> None:
    def loaded(network: Backbone) -> int:
        return _situation(network, Views(images=torch.rand(1, 3, 28, 28))).loaded

    drawn = short("da3-tiny")
    drawn.register_buffer("codes", torch.zeros(1000, dtype=torch.uint8))
    size = sum(4 * p.numel() for p in drawn.parameters())
    assert loaded(drawn) == size + 1000
    assert loaded(drawn.to(torch.bfloat16)) == size // 2 + 1000
    file = tmp_path / "model.safetensors"
    save_file(load_backbone("da3-tiny", weights="random").state_dict(), file)
    mapped = load_backbone("da3-tiny", weights=file)
    assert loaded(mapped) == 0
    assert loaded(mapped.to(torch.bfloat16)) == 2 * sum(p.numel() for p in mapped.parameters())


def test_what_a_gpu_lacks_beyond_pytorch_s_own_exists_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6_000, 12_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5_500)
    assert beyond_pytorch("cuda") == 500


def test_memory_that_pytorch_keeps_of_a_run_before_may_be_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1_000, 12_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 6_000)
    assert available("cuda") == int(FREE_SHARE * 5_000)


def test_a_hopeless_budget_is_refused_with_what_the_least_needs() -> None:
    with pytest.raises(ValueError, match=r"at the very least.*320 MB may be used.*budget"):
        make_plan(Memory(budget="320MB"), SITUATION)


def test_a_window_that_was_asked_for_is_taken() -> None:
    plan = make_plan(Memory(window=5, overlap=4, budget="8GB"), SITUATION)
    assert (plan.window, plan.overlap) == (5, 4)
    assert make_plan(Memory(window=50, budget="8GB"), SITUATION).whole


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name.startswith("da3-tiny") else pytest.mark.nightly)
        for name in list_backbones()
    ],
)
def test_what_counts_as_plenty_is_more_than_any_backbone_needs(name: str, kind: str) -> None:
    for views in (1, 12):
        work = Work(views=views, height=224, width=168)
        found = footprint(name, work, device=kind)
        plenty = PLENTY * views * work.height * work.width + ANYWAY
        assert 2 * (found.total(kind) - found.weights) < plenty
