"""Checkpoints on disk: one directory each, complete or absent.

    checkpoints/step-00000200/tensors.safetensors
    checkpoints/step-00000200/state.json          with the digest of the tensors

The directory appears by one rename after everything in it is on the disk.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.resume.files import (
    new_directory,
    read_tensors,
    remove,
    write_atomically,
    write_tensors,
    write_text,
)

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    - `step`: optimizer steps done when it was written.
    - `tensors`: on the CPU, by name.
    - `state`: everything that is not a tensor.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    directory: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and return its path; one that exists is left as it is.

    Raises OSError if the disk refused; nothing of this checkpoint is left behind.
    """
    path = directory / f"step-{step:08d}"
    if path.exists():
        return path
    with new_directory(path) as partial:
        write_tensors(partial / "tensors.safetensors", tensors)
        digest = _digest(partial / "tensors.safetensors")
        content = {"format": FORMAT, "step": step, "sha256": digest, "state": dict(state)}
        write_text(partial / "state.json", json.dumps(content, indent=1, allow_nan=False))
    return path


def restate(path: Path, state: Mapping[str, Any]) -> None:
    """Replace everything in a checkpoint that is not a tensor, in one rename.

    Raises OSError if the disk refused; the checkpoint is then as it was.
    """
    content = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if content["state"] != dict(state):
        text = json.dumps(content | {"state": dict(state)}, indent=1, allow_nan=False)
        write_atomically(path / "state.json", text)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises ValueError if a file is missing, damaged, or of another format; says what to do.
    """
    state, tensors = path / "state.json", path / "tensors.safetensors"
    for file in (state, tensors):
        if not file.is_file():
            raise _damaged(path, f"{file.name} is missing")
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"state.json cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, "state.json holds no object")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"format={content.get('format')!r} of checkpoint {path}; this version of distill "
            f"reads format {FORMAT}: resume with the version that wrote it"
        )
    if missing := sorted({"sha256", "step", "state"} - content.keys()):
        raise _damaged(path, f"state.json lacks {', '.join(missing)}")
    if _digest(tensors) != content["sha256"]:
        raise _damaged(path, "tensors.safetensors is not what was written")
    return Checkpoint(step=content["step"], tensors=read_tensors(tensors), state=content["state"])


def list_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints in a directory, oldest first; a copy under another name is none."""
    found = directory.glob("step-*")
    return sorted(p for p in found if p.is_dir() and p.name.removeprefix("step-").isdecimal())


def prune_checkpoints(directory: Path, *, keep_last: int, keep: Collection[int]) -> None:
    """Remove all but the newest `keep_last` checkpoints and those of the steps in `keep`."""
    for path in list_checkpoints(directory)[:-keep_last]:
        if int(path.name.removeprefix("step-")) not in keep:
            doomed = path.with_name(f".{path.name}.partial")
            path.rename(doomed)
            remove(doomed)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        f"checkpoint={str(path)!r}; it is damaged, {why}: remove this directory to resume from "
        "the one before it"
    )
