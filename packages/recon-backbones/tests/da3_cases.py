"""Depth Anything 3 networks rebuilt from directories of parity cases."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from recon_backbones.da3.config import DA3Config
from recon_backbones.da3.model import DA3Net


def network(directory: Path) -> tuple[DA3Net, dict[str, Any]]:
    c = json.loads((directory / "config.json").read_text())
    camera = c.get("cam_enc", {})
    state = load_file(directory / "weights.safetensors")
    config = DA3Config(
        embed_dim=c["embed_dim"],
        depth=c["depth"],
        num_heads=c["num_heads"],
        mlp_ratio=c["mlp_ratio"],
        ffn="mlp" if c["ffn"] == "mlp" else "swiglu",
        alt_start=c["alt_start"],
        qknorm_start=c["qknorm_start"],
        rope_start=c["rope_start"],
        rope_freq=float(c["rope_freq"]),
        out_layers=tuple(c["out_layers"]),
        head_features=c["head"]["features"],
        head_out_channels=tuple(c["head"]["out_channels"]),
        cam_enc_depth=camera.get("trunk_depth", 4),
        cam_enc_heads=camera.get("num_heads", 16),
        **_gaussian_sizes(state),
        patch_size=c["patch_size"],
        pos_grid=c["pos_grid"],
    )
    with torch.device("meta"):
        net = DA3Net(config)
    net.load_state_dict({n.removeprefix("model."): t for n, t in state.items()}, assign=True)
    return net.eval(), c


def _gaussian_sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """Sizes of the Gaussian head, read off its weights: the case files do not all state them."""
    head = "model.gs_head"
    if f"{head}.projects.0.weight" not in state:
        return {}
    return {
        "gaussian_head": True,
        "gaussian_features": len(state[f"{head}.scratch.layer1_rn.weight"]),
        "gaussian_out_channels": tuple(len(state[f"{head}.projects.{i}.weight"]) for i in range(4)),
    }
