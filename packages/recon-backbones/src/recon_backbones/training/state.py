"""A training's state on disk, and the weights that come out of it."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recon_backbones.training.optimizer import Optimizer

NAME = "state.safetensors"
RUN = "run.json"
NETWORK = "network."


def claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Write into a folder what is trained there, or hold it against the training that it holds.

    Raises ValueError for the first setting that differs, and where the file says nothing.
    """
    path = folder / RUN
    if not (path.exists() and (folder / NAME).exists()):  # nothing was learned, or it is not told
        partial = folder / "run.partial"
        partial.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: does not say what was trained; {error}: train in another folder"
        ) from error
    for name in {**settings, **before}:
        if settings.get(name) != before.get(name):
            raise ValueError(
                f"{name}={settings.get(name)!r}; the training in {folder} has "
                f"{before.get(name)!r} and goes on with that alone: give the same, or another "
                "folder"
            )


def save_state(folder: Path, optimizer: Optimizer, *, step: int, minutes: float) -> None:
    """Write everything that the next step depends on, whole or not at all."""
    tensors = optimizer.state() | {
        "step": torch.tensor(step, device="cpu"),
        "minutes": torch.tensor(minutes, dtype=torch.float64, device="cpu"),
    }
    partial = folder / "state.partial"
    _write(partial, {n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    partial.replace(folder / NAME)


def _write(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors for whom the umask leaves them; safetensors alone would for the owner.

    Raises OSError where the disk refuses; what is half written is removed.
    """
    path.touch()
    readers = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        with suppress(OSError):
            path.unlink()
        raise OSError(
            f"{path}: cannot be written; {error}: make room, or choose another"
        ) from error
    path.chmod(readers)


def resume(folder: Path, optimizer: Optimizer) -> tuple[int, float]:
    """Take up what `folder` holds, if anything; return the step and the minutes spent so far."""
    path = folder / NAME
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    step, minutes = int(tensors.pop("step")), float(tensors.pop("minutes"))
    optimizer.load(tensors)
    return step, minutes


def export_weights(folder: Path, destination: Path, *, averaged: bool = True) -> int:
    """Write weights in bf16 under the names of the public checkpoints; return the step.

    `averaged` takes the running mean of the weights, which needs no annealing; otherwise it is the
    weights of the last step. A link stays, and what it leads to is written. Raises
    FileNotFoundError if `folder` holds no training state.
    """
    state = load_file(folder / NAME)
    prefix = ("average." if averaged else "master.") + NETWORK
    ahead = "" if any(name.startswith(prefix + "aggregator.") for name in state) else "model."
    weights = {
        ahead + name.removeprefix(prefix): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    step = int(state["step"])
    metadata = {"format": "pt", "steps": str(step), "made_by": "recon_backbones.training"}
    destination = Path(os.path.realpath(destination))
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".partial")
    _write(partial, weights, metadata)
    partial.replace(destination)
    return step
