"""Tokens that wait in the host's memory change no result, and are not on the device."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from recon_backbones import load_backbone
from recon_backbones.blocks import streaming
from recon_backbones.blocks.attention import Attention
from recon_backbones.blocks.rope import rotary_table
from recon_backbones.views import memory
from recon_backbones.views.memory import Work, footprint

from ..short import short


def test_tokens_that_wait_elsewhere_are_not_on_the_device() -> None:
    for name in ("da3-tiny", "vggt-tiny"):
        work = Work(views=8, height=84, width=112, head_chunk=1)
        network = short(name)
        here = footprint(network, work, device="cuda").parts
        away = footprint(network, replace(work, stream=True), device="cuda").parts
        assert all(away[part] < here[part] for part in here)


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
