"""The folder that a student is kept in, read and written.

    config.json           backbone, digest of the teacher's weights, recipe, versions
    adapter.safetensors   only what distillation changed
    model.safetensors     instead, for an exported student: all weights, FP8 as FP8

With an adapter, loading needs the teacher's weights and checks that they are the same ones.
"""

from pathlib import Path
from typing import Any

from recon_eval.formats import parse_json

FORMAT = "lite3r-student/1"
CONFIG, ADAPTER, DEPLOYED = "config.json", "adapter.safetensors", "model.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """Read a student's `config.json`. Raises ValueError when it is missing or damaged."""
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} holds no student; {CONFIG} is missing: give that of a run")
    config: dict[str, Any] = parse_json(path.read_bytes(), path)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is damaged; it is not of format {FORMAT}: distill it again")
    return config
