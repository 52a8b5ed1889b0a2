"""From a training state to the file that ships with recon-backbones."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NETWORK = "master.network."


def export_weights(folder: Path, destination: Path) -> int:
    """Write the fp32 masters as bf16 under the names of the public checkpoints; return the step.

    Raises FileNotFoundError if `folder` holds no training state.
    """
    state = load_file(folder / "state.safetensors")
    weights = {
        "model." + name.removeprefix(NETWORK): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in state.items()
        if name.startswith(NETWORK)
    }
    step = int(state["step"])
    metadata = {"format": "pt", "steps": str(step), "made_by": "lite3r pretrain"}
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".partial")
    save_file(weights, partial, metadata=metadata)
    partial.replace(destination)
    return step
