"""Single-view and nested Depth Anything 3 networks rebuilt from directories of parity cases."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from recon_backbones.da3 import DA3Config
from recon_backbones.da3.single import MonoConfig, MonoDepthAnything3, NestedDepthAnything3


def mono(directory: Path) -> MonoDepthAnything3:
    config = json.loads((directory / "config.json").read_text())
    with torch.device("meta"):
        made = MonoDepthAnything3("mono-parity", mono_config(config, canonical_focal=None))
    made.load_state_dict(load_file(directory / "weights.safetensors"), assign=True)
    return made.eval()


def nested(directory: Path) -> NestedDepthAnything3:
    config = json.loads((directory / "config.json").read_text())
    anyview = config["anyview"]
    with torch.device("meta"):
        made = NestedDepthAnything3(
            "nested-parity",
            DA3Config(
                **_trunk(anyview),
                ffn=anyview["ffn"],
                alt_start=anyview["alt_start"],
                qknorm_start=anyview["qknorm_start"],
                rope_start=anyview["rope_start"],
                cam_enc_depth=anyview["cam_enc"]["trunk_depth"],
                cam_enc_heads=anyview["cam_enc"]["num_heads"],
            ),
            mono_config(config["metric"], canonical_focal=300.0),
        )
    made.load_state_dict(load_file(directory / "weights.safetensors"), assign=True)
    return made.eval()


def mono_config(config: dict[str, Any], *, canonical_focal: float | None) -> MonoConfig:
    return MonoConfig(**_trunk(config), canonical_focal=canonical_focal)


def _trunk(config: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: config[key] for key in ("embed_dim", "depth", "num_heads", "mlp_ratio")},
        "out_layers": tuple(config["out_layers"]),
        "head_features": config["head"]["features"],
        "head_out_channels": tuple(config["head"]["out_channels"]),
    }
