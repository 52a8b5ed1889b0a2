"""Memory is predicted to what the allocator gives, and a network may be in use meanwhile."""

import gc
import threading
import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from recon_backbones import Backbone, InputError, load_backbone, replace_attention, slice_blocks
from recon_backbones.blocks.attention import MatmulAttention
from recon_backbones.views import memory
from recon_backbones.views.memory import Work, footprint
from recon_backbones.views.twin import state_of

from ..allocations import peak_allocated
from ..short import short
from .situations import exhausted


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


def test_every_margin_says_whether_it_was_measured() -> None:
    for margin in memory.MARGINS.values():
        assert margin.source.startswith(("measured", "predicted"))


def test_weights_are_counted_in_their_precision(backbone: Backbone) -> None:
    whole = sum(p.numel() for p in backbone.parameters())
    for size in (4, 2):
        work = Work(views=2, height=56, width=56, bytes_per_value=size)
        assert footprint("da3-tiny", work).weights == size * whole
