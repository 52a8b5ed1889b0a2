"""What makes a run the same run: its settings and the models it started from."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from numbers import Real
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from distill.record.settings import plain
from distill.resume.fingerprint import fingerprint, fingerprint_model
from distill.trainable.freeze import trainable_parameters

FREE = ("config.keep_last",)


def identify(
    student: nn.Module,
    teacher: nn.Module,
    config: Mapping[str, Any],
    objectives: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the settings and fingerprints that a resumed run must share, as JSON holds them.

    - `config`: settings by name.
    - `objectives`: frozen dataclasses by name.
    """
    trainable = trainable_parameters(student)
    frozen = {n: p for n, p in student.named_parameters() if n not in trainable}
    identity = {
        "config": dict(config),
        "objectives": {name: _describe(value) for name, value in objectives.items()},
        "trainable": {name: list(p.shape) for name, p in trainable.items()},
        "frozen weights": fingerprint(frozen),
        "teacher weights": fingerprint_model(teacher),
    }
    return dict(json.loads(json.dumps(identity)))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return one line for every setting that differs, by dotted name."""
    old, new = dict(_flatten(before)), dict(_flatten(now))
    absent = "absent"
    return [
        f"{name}: {old.get(name, absent)!r} in the run, {new.get(name, absent)!r} now"
        for name in dict.fromkeys([*old, *new])
        if old.get(name, absent) != new.get(name, absent) and name not in FREE
    ]


def digest(identity: Mapping[str, Any]) -> str:
    """Return a digest of all settings that a resumed run must share."""
    kept = [entry for entry in _flatten(dict(identity)) if entry[0] not in FREE]
    return hashlib.blake2b(json.dumps(kept).encode(), digest_size=16).hexdigest()


def _describe(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__} | fields
    if isinstance(value, Mapping):
        return {str(key): _describe(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(element) for element in value]
    if isinstance(value, Tensor):
        return fingerprint({"": value})
    if isinstance(value, PurePath | Enum | torch.dtype | torch.device):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool | Real):
        return plain(value)
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return type(value).__qualname__


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield prefix, value
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, element in items:
        yield from _flatten(element, f"{prefix}.{key}" if prefix else str(key))
