"""The teacher's targets on disk, computed once and read for many epochs.

DIRECTORY/targets.json                    whose targets: teacher, modules, fields, precision
DIRECTORY/targets-0-00003.safetensors     shard 3 of process 0, with a table in its header
"""

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path, PurePath
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from distill.observe.parts import parts_of
from distill.observe.target_store import Targets
from distill.processes.world import World
from distill.record.pairs import Tap
from distill.resume.files import (
    is_full,
    is_utf8,
    remove_partial,
    replace_tensors,
    write_atomically,
)
from distill.resume.fingerprint import SAMPLE, fingerprint
from distill.resume.identity import differences

SHARD_BYTES = 256 * 2**20


class TargetCache:
    """A store of teacher targets for `distill`: the teacher runs once for each batch.

    Tensors are stored as they are, so that a run with the cache equals one without. Batches
    must be the same each time they come; a batch that is not is an error.

    - `directory`: made if it does not exist; runs with the same teacher, pairs and data may use it
      one after another.
    - `shard_bytes`: size at which a shard is written.
    """

    def __init__(self, directory: str | Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._directory, self._shard_bytes = Path(directory), shard_bytes
        self._taps: list[Tap] = []
        self._fields: list[str] = []
        self._device = "cpu"
        self._whose: dict[str, Any] = {}
        self._table: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._waiting: dict[str, Tensor] = {}
        self._entries: dict[str, dict[str, Any]] = {}

    def bind(
        self, taps: list[Tap], fields: list[str], *, device: str, identity: Mapping[str, Any]
    ) -> None:
        """Say what the targets are, and find those that are kept.

        - `taps`: where the teacher is read.
        - `fields`: output fields of the teacher.
        - `device`: where loaded tensors go.
        - `identity`: the teacher and its precision.

        Raises ValueError if the directory holds targets of something else.
        """
        self._taps, self._fields, self._device = taps, fields, device
        world = World.current()
        whose = {**identity, "taps": [str(tap) for tap in taps], "fields": fields}
        if world.leads:
            self._claim(whose)
        world.wait()
        if whose != self._whose:  # an error left what waits, and it is of something else
            self._waiting, self._entries = {}, {}
        self._whose = whose
        self._table.clear()
        for path in sorted(self._directory.glob("targets-*.safetensors")):
            self._read(path)

    def load(self, key: str, batch: Any) -> Targets | None:
        """Return the targets of a batch, or None where they are not kept yet.

        Raises ValueError if targets of another batch are kept under this key.
        """
        shard, entry = self._table.get(key, (None, self._entries.get(key)))
        if entry is None:
            return None
        if entry["batch"] != batch_fingerprint(batch):
            raise ValueError(
                f"key={key!r}; the targets kept under it in {self._directory} are of another "
                "batch: use another directory, and batches that are the same each time they come"
            )
        read = shard.get_tensor if shard else lambda name: self._waiting[name].to(self._device)
        tensors = (read(f"{key}/{number}") for number in range(sum(entry["calls"])))
        records = {
            tap: [next(tensors) for _ in range(count)]
            for tap, count in zip(self._taps, entry["calls"], strict=True)
        }
        fields = {name: read(f"{key}/{name}") for name in self._fields}
        return Targets(records=records, fields=fields)

    def save(self, key: str, batch: Any, targets: Targets) -> str | None:
        """Keep copies of the targets of a batch; they reach the disk with their shard.

        Returns what a user should know: that the disk is full.

        A tensor may be a part of a larger one, stand under two names, or be overwritten by the
        next pass.
        """
        tensors = [tensor for tap in self._taps for tensor in targets.records[tap]]
        named = {str(number): tensor for number, tensor in enumerate(tensors)} | targets.fields
        self._waiting |= {f"{key}/{name}": _copy(tensor) for name, tensor in named.items()}
        calls = [len(targets.records[tap]) for tap in self._taps]
        self._entries[key] = {"batch": batch_fingerprint(batch), "calls": calls}
        if sum(tensor.nbytes for tensor in self._waiting.values()) >= self._shard_bytes:
            return self.flush()
        return None

    def flush(self) -> str | None:
        """Write what is waiting as a shard, or forget it where the disk is full, and say so."""
        if not self._entries:
            return None
        prefix = self._directory / f"targets-{World.current().rank}-"
        paths = (Path(f"{prefix}{number:05d}.safetensors") for number in count())
        path = next(path for path in paths if not path.exists())
        waiting, entries = self._waiting, self._entries
        self._waiting, self._entries = {}, {}
        try:
            replace_tensors(path, waiting, {"entries": json.dumps(entries)})
        except OSError as error:
            if not is_full(error):
                raise
            return (
                f"Targets of {len(entries)} batches were not written: {self._directory} has no "
                "space left. Training goes on; the teacher is asked again when they come again."
            )
        self._read(path)
        return None

    def _claim(self, identity: Mapping[str, Any]) -> None:
        if not is_utf8(self._directory):
            raise ValueError(
                f"directory={str(self._directory)!r}; its name must be UTF-8, as safetensors opens "
                "no other: name it otherwise"
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        remove_partial(self._directory)
        path = self._directory / "targets.json"
        if not path.exists():
            write_atomically(path, json.dumps(identity, indent=1))
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError, RecursionError) as error:
            raise _damaged(path, error, "this directory") from error
        if changed := differences(before, identity):
            raise ValueError(
                f"directory={str(self._directory)!r}; its targets are not this run's:\n  "
                + "\n  ".join(changed)
                + "\nUse another directory, or remove this one"
            )

    def _read(self, path: Path) -> None:
        try:
            shard: Any = safe_open(path, framework="pt", device=self._device)
            entries = json.loads(shard.metadata()["entries"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error, "it") from error
        self._table |= {key: (shard, entry) for key, entry in entries.items()}


def _damaged(path: Path, error: Exception, what: str) -> ValueError:
    return ValueError(
        f"targets={str(path)!r}; it is damaged ({error}): remove {what}, and the teacher is asked "
        "again"
    )


def _copy(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def batch_fingerprint(batch: Any) -> str:
    """Return a digest of a batch: tensors, arrays, images, text and numbers, and containers."""
    return fingerprint(dict(_tensors(batch, "batch")))


def _tensors(value: Any, name: str) -> list[tuple[str, Tensor]]:
    """Tensors by name; of what is none, the name tells the value."""
    if isinstance(value, Tensor):
        return [(name, value)]
    if isinstance(value, str | bytes | int | float | PurePath):
        return [(f"{name}={value!r}", torch.empty(0, device="cpu"))]
    if hasattr(value, "__array_interface__"):  # of NumPy, or an image of PIL
        array = numpy.asarray(value)
        if not array.dtype.hasobject:
            sample = array.reshape(-1)[:: max(1, array.size // SAMPLE)].tobytes().hex()
            return [(f"{name}={array.dtype} {array.shape} {sample}", torch.empty(0, device="cpu"))]
        value = array.tolist()
    parts = parts_of(value).items()
    return [found for key, part in parts for found in _tensors(part, f"{name}.{key}")]
