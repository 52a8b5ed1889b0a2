"""The folder that a student is kept in, read and written.

    config.json           backbone, digest of the teacher's weights, recipe, versions
    adapter.safetensors   only what distillation changed
    model.safetensors     instead, for an exported student: all weights, FP8 as FP8

With an adapter, loading needs the teacher's weights and checks that they are the same ones.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lite3r.shell import atomic

FORMAT = "lite3r-student/1"
CONFIG, ADAPTER, DEPLOYED = "config.json", "adapter.safetensors", "model.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """Read a student's `config.json`. Raises ValueError when it is missing or damaged."""
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} holds no student: {CONFIG} is missing")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}")
    return config


def write_adapter(folder: Path, trained: dict[str, Tensor]) -> None:
    """Write trained parameters by name; the file is whole or not there."""
    values = {name: p.detach().cpu().contiguous() for name, p in trained.items()}
    with atomic.new_file(folder / ADAPTER) as partial:
        save_file(values, partial, metadata={"format": FORMAT})


def read_adapter(folder: Path, into: dict[str, Tensor]) -> None:
    """Put the trained values of a folder into parameters of the same names, in place.

    Raises ValueError when the file is missing, damaged, or holds other names or shapes.
    """
    path = folder / ADAPTER
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a student has {CONFIG} and {ADAPTER}")
    try:
        values = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or distill it again") from error
    wrong = [n for n in into.keys() & values.keys() if into[n].shape != values[n].shape]
    missing, unknown = sorted(into.keys() - values.keys()), sorted(values.keys() - into.keys())
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} is an adapter of another model: {_some('missing', missing)}, "
            f"{_some('unknown', unknown)}, {_some('of another shape', sorted(wrong))}"
        )
    with torch.no_grad():
        for name, value in values.items():
            into[name].copy_(value)


def _some(what: str, names: list[str]) -> str:
    if not names:
        return f"none {what}"
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
