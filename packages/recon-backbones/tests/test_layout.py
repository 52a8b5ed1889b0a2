"""How maps lie in memory: channels side by side, as a GPU's convolutions in 16 bits want them."""

import pytest
import torch
from torch import Tensor, nn

from recon_backbones import load_backbone


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_every_map_of_the_dense_heads_lies_channels_last(name: str) -> None:
    backbone = load_backbone(name, weights="random", seed=0)
    seen: list[tuple[str, Tensor, Tensor]] = []
    for where, part in backbone.named_modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and "patch_embed" not in where:
            part.register_forward_hook(lambda _, x, y, where=where: seen.append((where, x[0], y)))
    with torch.inference_mode():
        backbone(torch.rand(1, 2, 3, 56, 70))
    assert len(seen) > 20
    for where, before, after in seen:
        for x in (before, after):
            assert x.is_contiguous(memory_format=torch.channels_last), where
