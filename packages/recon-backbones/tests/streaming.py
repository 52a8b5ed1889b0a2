"""Long sequences: what stays inside a view streams, so memory grows by what must be kept alone.

Counted at the sizes of the public models, on the meta device: nothing is computed. Run by
test_streaming.py without the shape checks of the test run, whose wrappers keep arguments alive.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from recon_backbones import Backbone, build_on_meta, replace_attention, slice_blocks
from recon_backbones.da3 import DepthAnything3, da3_large
from recon_backbones.vggt import Vggt, vggt_1b

from .live_bytes import peak_bytes

SIDE = 252


class Empty(nn.Module):
    """Attention that holds no weights, as fused kernels do; on meta PyTorch would store them."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        return torch.empty_like(q)


def build(name: str) -> Backbone:
    """A public model; those of 24 blocks or pairs with 12 blocks or six pairs, of the same peak."""
    if name == "da3-large":
        shorter = replace(da3_large(), depth=12, out_layers=(5, 7, 9, 11))
        with torch.device("meta"):
            backbone: Backbone = DepthAnything3(name, shorter)
    elif name == "vggt-1b":
        config = replace(vggt_1b(), depth=6, out_layers=(0, 2, 4, 5), dino_depth=2, camera_depth=1)
        with torch.device("meta"):
            backbone = Vggt(name, config)
    else:
        backbone = build_on_meta(name)
    replace_attention(backbone, lambda site: Empty(), where=lambda site: True)
    return backbone


@torch.no_grad()
def peak(backbone: Backbone, views: int, head_chunk: int) -> int:
    images = torch.empty(1, views, 3, SIDE, SIDE, device="meta")
    return peak_bytes(lambda: backbone(images, head_chunk=head_chunk))


def test_peaks_are_those_of_live_tensors() -> None:
    def run() -> None:
        a = torch.empty(1000, dtype=torch.uint8)
        b = a[:10] + 1
        del a
        torch.empty(500, dtype=torch.uint8)
        assert len(b) == 10

    assert peak_bytes(run) == 1010


@pytest.mark.parametrize("name", ["da3-large", "vggt-1b"])
def test_a_further_view_costs_its_kept_tokens_and_one_global_attention(name: str) -> None:
    backbone = build(name)
    config = backbone.config
    special = 1 if name.startswith("da3") else config.special_tokens
    tokens = (special + (SIDE // 14) ** 2) * config.embed_dim * 4  # bytes of one view, one stage
    image = 3 * SIDE * SIDE * 4
    whole = peak(backbone, 8, 8)
    slice_blocks(backbone, 2048)
    streamed = {views: peak(backbone, views, 1) for views in (4, 8)}
    growth = (streamed[8] - streamed[4]) / 4
    kept, attention = 8 * tokens, 12 * tokens
    assert growth <= kept + attention + 2 * image
    assert streamed[8] < 0.5 * whole


@torch.no_grad()
def test_single_views_cost_only_what_is_returned() -> None:
    backbone = build("da3metric-large")
    peaks = [
        peak_bytes(
            lambda v=views: backbone.internals(
                torch.empty(1, v, 3, SIDE, SIDE, device="meta"), head_chunk=2
            )
        )
        for views in (2, 4)
    ]
    image = 3 * SIDE * SIDE * 4
    assert (peaks[1] - peaks[0]) / 2 <= 3 * image  # normalizing, depth and sky
