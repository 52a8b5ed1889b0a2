"""VGGT networks rebuilt from directories of parity cases."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from recon_backbones.vggt import TrackConfig, Vggt, VggtConfig


def backbone(directory: Path) -> Vggt:
    c = json.loads((directory / "config.json").read_text())
    track = c["track"]
    config = VggtConfig(
        embed_dim=c["embed_dim"],
        depth=c["depth"],
        num_heads=c["num_heads"],
        mlp_ratio=c["mlp_ratio"],
        num_registers=c["num_register_tokens"],
        rope_freq=float(c["rope_freq"]),
        dino_depth=c["dino"]["depth"],
        dino_heads=c["dino"]["num_heads"],
        dino_registers=c["dino"]["num_register_tokens"],
        camera_depth=c["camera_head"]["trunk_depth"],
        camera_heads=c["camera_head"]["num_heads"],
        camera_iterations=c["camera_head"]["num_iterations"],
        head_features=c["dpt"]["features"],
        head_out_channels=tuple(c["dpt"]["out_channels"]),
        out_layers=tuple(c["dpt"]["intermediate_layer_idx"]),
        track=TrackConfig(
            features=track["features"],
            out_channels=tuple(track["out_channels"]),
            hidden=track["hidden_size"],
            depth=track["depth"],
            num_heads=track["num_heads"],
            virtual_tracks=track["num_virtual_tracks"],
            levels=track["corr_levels"],
            radius=track["corr_radius"],
            iterations=track["iters"],
        ),
        patch_size=c["patch_size"],
        pos_grid=c["img_size"] // c["patch_size"],
    )
    with torch.device("meta"):
        made = Vggt("vggt-parity", config)
    made.load_state_dict(load_file(directory / "weights.safetensors"), assign=True)
    return made.eval()
