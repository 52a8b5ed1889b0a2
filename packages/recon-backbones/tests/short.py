"""Networks of the two families with as few blocks as their heads can read, for what is slow."""

from dataclasses import replace

import torch

from recon_backbones import Backbone
from recon_backbones.da3 import DepthAnything3, da3_tiny
from recon_backbones.vggt import Vggt, vggt_tiny


def short(name: str) -> Backbone:
    """ "da3-tiny" or "vggt-tiny" with four blocks, seeded weights."""
    torch.manual_seed(0)
    if name == "da3-tiny":
        config = replace(da3_tiny(), depth=4, out_layers=(0, 1, 2, 3))
        made: Backbone = DepthAnything3(name, config)
    else:
        few = {"depth": 4, "out_layers": (0, 1, 2, 3), "dino_depth": 1, "camera_depth": 1}
        made = Vggt(name, replace(vggt_tiny(), **few, camera_iterations=2))
    made.init_weights()
    return made.eval()
