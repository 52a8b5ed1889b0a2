"""Memory is predicted to the byte, budgets are kept, and running out leads to smaller chunks."""

import copy
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode

from recon_backbones import (
    Backbone,
    InputError,
    Memory,
    list_backbones,
    load_backbone,
    replace_attention,
    slice_blocks,
)
from recon_backbones.blocks import streaming
from recon_backbones.blocks.attention import Attention, MatmulAttention
from recon_backbones.blocks.rope import rotary_table
from recon_backbones.machine.free import FREE_SHARE, available, beyond_pytorch
from recon_backbones.telling import Advance, Telling
from recon_backbones.views import memory
from recon_backbones.views import plan as plan_module
from recon_backbones.views.memory import Work, footprint
from recon_backbones.views.plan import (
    ANYWAY,
    PLENTY,
    Plan,
    Situation,
    make_plan,
    needed,
    thriftier,
)
from recon_backbones.views.run import Views, _situation, is_out_of_memory, run_plan
from recon_backbones.views.twin import state_of

from .allocations import peak_allocated
from .short import short

SITUATION = Situation(
    backbone="da3-tiny", views=8, height=84, width=112, device="cpu", held=300_000_000
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


@pytest.fixture(scope="module")
def few_blocks() -> Backbone:
    """For what is asked how often it is called, and not what it computes."""
    return short("da3-tiny")


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("da3-tiny", Work(views=3, height=84, width=112)),
        ("da3-tiny", Work(views=3, height=84, width=112, head_chunk=1)),
        ("vggt-tiny", Work(views=3, height=84, width=112, head_chunk=2)),
    ],
)
def test_prediction_is_what_the_allocator_gives(name: str, work: Work) -> None:
    """By name and by the network itself; within what kernels take for themselves."""
    network = load_backbone(name, weights="random")
    images = torch.rand(1, work.views, 3, work.height, work.width)

    def call() -> object:
        with torch.inference_mode():
            return network(images, head_chunk=work.head_chunk)

    measured = peak_allocated(call)
    predicted = footprint(name, work).activations
    assert predicted == footprint(network, work).activations
    assert 0.97 * predicted <= measured <= 1.1 * predicted


def test_many_views_lie_on_the_line_through_few() -> None:
    work = Work(views=24, height=28, width=28)
    predicted = footprint("da3-tiny", work)
    [followed] = memory._followed(memory._built("da3-tiny"), [work], "cpu")
    for part, size in followed.parts.items():
        assert predicted.parts[part] == pytest.approx(size, rel=0.02)
    assert predicted.inputs == followed.inputs == 24 * 3 * 28 * 28 * 4


def test_tokens_that_wait_elsewhere_are_not_on_the_device() -> None:
    for name in ("da3-tiny", "vggt-tiny"):
        work = Work(views=8, height=84, width=112, head_chunk=1)
        network = short(name)
        here = footprint(network, work, device="cuda").parts
        away = footprint(network, replace(work, stream=True), device="cuda").parts
        assert all(away[part] < here[part] for part in here)


def test_a_gpu_lets_tokens_wait_before_it_gives_up_precision() -> None:
    on_gpu = replace(SITUATION, device="cuda", held=0)
    options = Memory(budget="64GB", precision="auto")
    one_at_a_time = needed(replace(make_plan(options, on_gpu), head_chunk=1), on_gpu)
    plan = make_plan(replace(options, budget=str(one_at_a_time - 1)), on_gpu)
    assert plan.stream and plan.half is None and plan.whole
    assert "host's memory" in plan.describe()


def test_a_prediction_leaves_the_network_as_it_is(backbone: Backbone) -> None:
    images = torch.rand(1, 2, 3, 28, 42)
    with torch.inference_mode():
        before = backbone(images).depth
        footprint(backbone, Work(views=2, height=28, width=42, bytes_per_value=2, stream=True))
        assert torch.equal(backbone(images).depth, before)


def test_a_network_may_be_in_use_while_its_memory_is_predicted() -> None:
    network, images = short("da3-tiny"), torch.rand(1, 2, 3, 28, 42)
    found: list[torch.Tensor] = []

    def use() -> None:
        with torch.inference_mode():
            found.append(network(images).depth)

    def meanwhile(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=use)
            other.start()
            other.join()

    use()
    site = network.attention_sites()[1].name
    handle = network.get_submodule(site).register_forward_hook(meanwhile)
    footprint(network, Work(views=2, height=28, width=42))
    handle.remove()
    assert len(found) == 2
    assert torch.equal(found[1], found[0])


def test_a_prediction_is_that_of_the_network_as_it_is_now() -> None:
    """Whatever changes it: other attention, its undoing, slices, fewer bits, another order."""
    network, work = short("da3-tiny"), Work(views=4, height=112, width=112)
    dense = footprint(network, work)
    replaced = replace_attention(network, lambda _: MatmulAttention())
    assert footprint(network, work).parts["global"] > dense.parts["global"]
    replaced.undo()
    assert footprint(network, work) == dense
    slice_blocks(network, 16)
    assert footprint(network, work).parts["global"] < dense.parts["global"]
    slice_blocks(network, None)
    network.set_token_order("tile8")
    assert footprint(network, work).parts["frame"] > dense.parts["frame"]
    network.set_token_order("raster")
    network.to(torch.bfloat16)
    assert footprint(network, work).weights == dense.weights // 2


def test_settings_of_a_core_are_part_of_a_network_s_state() -> None:
    @dataclass(frozen=True)
    class Choice:
        keep: float

    core = MatmulAttention()
    core.choice = Choice(0.5)  # type: ignore[assignment]
    network = short("da3-tiny")
    replace_attention(network, lambda _: core)
    before = state_of(network)
    assert state_of(network) == before
    core.choice = Choice(0.25)  # type: ignore[assignment]
    assert state_of(network) != before


def test_a_network_that_cannot_be_copied_is_refused_in_a_sentence(backbone: Backbone) -> None:
    work = Work(views=2, height=56, width=56, head_chunk=8, bytes_per_value=4)
    backbone.kept = torch.ones(2, requires_grad=True) * 2  # tensors, of a graph too, can be
    footprint(backbone, work)
    backbone.lock = threading.Lock()
    try:
        with pytest.raises(InputError, match=r"network=da3-tiny; .* cannot be copied"):
            footprint(backbone, replace(work, views=3))
    finally:
        del backbone.lock, backbone.kept


def test_a_prediction_keeps_no_network_alive() -> None:
    network = short("da3-tiny")
    footprint(network, Work(views=1, height=28, width=28))
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_a_network_with_a_wrapped_forward_has_the_memory_of_its_class() -> None:
    network, work = short("da3-tiny"), Work(views=2, height=28, width=42)
    expected = footprint(network, work)
    wrapped, _ = exhausted(network, 0, MemoryError())
    assert footprint(wrapped, work) == expected


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_streaming_changes_no_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_backbone(name, weights="random")
    images = torch.rand(1, 3, 3, 28, 42)
    monkeypatch.setattr(streaming, "SLICE", 5)
    with torch.inference_mode():
        expected = network(images).depth
        with streaming.streamed(network, True):
            found = network(images).depth
        again = network(images).depth
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(again, expected)


def test_tokens_wait_in_memory_of_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch rounds pinned memory up to a power of two."""
    keeper, asked = streaming.Keeper(), []
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **kw: asked.append(kw) or empty(*a, **kw))
    with FakeTensorMode():
        x = empty(3, 5, 7, device="cuda")
        assert keeper.keep(x) is x
        keeper.offload = True
        kept = keeper.keep(x)
    assert kept.device.type == "cpu" and kept.shape == x.shape
    assert not any(each.get("pin_memory") for each in asked)


@pytest.mark.parametrize("scenes", [1, 2])
def test_attention_of_slices_is_that_of_the_whole(scenes: int) -> None:
    attention = Attention(16, 2, qk_norm=True).double()
    x = torch.rand(scenes, 23, 16, dtype=torch.float64)
    rope = rotary_table(torch.arange(46).view(23, 2), 8, base=100.0, dtype=torch.float64)
    expected = attention(x, rope=rope)
    for tokens in (1, 7, 23, 100):
        found = attention(x, rope=rope, slice_tokens=tokens)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_streaming_attention_holds_little_more_than_what_it_attends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two levels of tokens, the normed ones, queries, keys, values and what is mixed."""
    monkeypatch.setattr(streaming, "SLICE", 9)
    work = Work(views=16, height=28, width=28, head_chunk=16, stream=True)
    tokens = work.views * 9 * 192 * work.bytes_per_value  # 4 patches and 5 special ones a view
    [found] = memory._followed(short("vggt-tiny"), [work], "cuda")
    assert 7 * tokens < found.parts["global"] < 11 * tokens


def test_every_margin_says_whether_it_was_measured() -> None:
    for margin in memory.MARGINS.values():
        assert margin.source.startswith(("measured", "predicted"))


def test_weights_are_counted_in_their_precision(backbone: Backbone) -> None:
    whole = sum(p.numel() for p in backbone.parameters())
    for size in (4, 2):
        work = Work(views=2, height=56, width=56, bytes_per_value=size)
        assert footprint("da3-tiny", work).weights == size * whole


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


def exhausted(
    backbone: Backbone, views: int, error: Exception
) -> tuple[Backbone, list[tuple[int, int]]]:
    """A backbone that fails, as where memory is short, for more than so many views; its calls."""
    failing, asked = copy.copy(backbone), []

    def forward(images: torch.Tensor, *, head_chunk: int = 8, **given: Any) -> Any:
        asked.append((images.shape[1], head_chunk))
        if images.shape[1] > views:
            raise error
        return backbone(images, head_chunk=head_chunk, **given)

    failing.forward = forward  # type: ignore[method-assign]
    return failing, asked


CPU_ERROR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error", [CPU_ERROR, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")]
)
def test_memory_that_runs_out_leads_to_smaller_chunks_and_is_told(
    few_blocks: Backbone, error: Exception
) -> None:
    few, asked = exhausted(few_blocks, 5, error)
    scene = Views(images=torch.rand(12, 3, 42, 56))
    plan = Plan(views=12, window=12, overlap=3)
    said: list[str] = []
    outcome = run_plan(few, scene, plan, Telling(say=said.append))
    assert asked[:3] == [(12, 8), (12, 1), (6, 1)]
    assert set(asked[3:]) == {(3, 1)}
    assert outcome.plan.window == 3
    assert outcome.prediction.depth.shape == (1, 12, 42, 56)
    assert any("memory ran out with all views at once" in sentence for sentence in said)
    assert any("trying windows of 3 views that share 1" in sentence for sentence in said)


def test_the_end_of_the_ladder_is_one_sentence(few_blocks: Backbone) -> None:
    none, _ = exhausted(few_blocks, 0, CPU_ERROR)
    scene = Views(images=torch.rand(6, 3, 28, 28))
    with pytest.raises(ValueError, match=r"memory ran out even with.*size"):
        run_plan(none, scene, Plan(views=6, window=6, overlap=1))


def test_other_errors_are_no_lack_of_memory(backbone: Backbone) -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    wrong, asked = exhausted(backbone, 0, RuntimeError("shapes differ"))
    scene = Views(images=torch.rand(2, 3, 28, 28))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_plan(wrong, scene, Plan(views=2, window=2, overlap=1))
    assert len(asked) == 1


def test_chunks_change_no_result(backbone: Backbone) -> None:
    scene = Views(images=torch.rand(3, 3, 42, 56))
    plan = Plan(views=3, window=3, overlap=1)
    whole = run_plan(backbone, scene, plan).prediction
    cut = run_plan(backbone, scene, replace(plan, head_chunk=1)).prediction
    torch.testing.assert_close(cut.depth, whole.depth, rtol=1e-4, atol=1e-5)


def test_progress_ends_where_it_should(backbone: Backbone) -> None:
    """As many steps are done as were foreseen, in every pass as many."""
    foreseen: list[int] = []
    done: list[int] = []

    @contextmanager
    def progress(what: str, steps: int) -> Iterator[Advance]:
        foreseen.append(steps)
        yield lambda: done.append(1)

    plan = Plan(views=5, window=3, overlap=1, head_chunk=2)
    run_plan(backbone, Views(images=torch.rand(5, 3, 42, 56)), plan, Telling(progress=progress))
    blocks = sum(site.scope != "camera" for site in backbone.attention_sites())
    assert foreseen == [2 * blocks]
    assert len(done) == 2 * blocks


@pytest.mark.parametrize("returned", [0, False, "", True])
def test_what_a_step_of_progress_returns_changes_no_result(
    backbone: Backbone, returned: object
) -> None:
    @contextmanager
    def progress(what: str, steps: int) -> Iterator[Advance]:
        yield lambda: returned

    scene, plan = Views(images=torch.rand(2, 3, 28, 42)), Plan(views=2, window=2, overlap=1)
    told = run_plan(backbone, scene, plan, Telling(progress=progress)).prediction
    assert torch.equal(told.depth, run_plan(backbone, scene, plan).prediction.depth)


def test_the_allocator_s_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_what_cuda_s_libraries_say_of_memory_is_known(told: str) -> None:
    assert is_out_of_memory(RuntimeError(told))


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
