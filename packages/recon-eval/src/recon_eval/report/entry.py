"""One result of one scene, as a report keeps it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Result(Protocol):
    """What `depth.evaluate`, `pose.evaluate` and the others return."""

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        ...

    def numbers(self) -> dict[str, float]:
        """Return every metric by name."""
        ...

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The numbers of one scene under one protocol; `frames` names the views that were used."""

    scene: str
    protocol: str
    numbers: dict[str, float]
    provenance: dict[str, Any]
    frames: tuple[str, ...]

    @classmethod
    def of(cls, scene: str, result: Result, frames: tuple[str, ...]) -> "Entry":
        """Take a result apart."""
        return cls(
            scene=scene,
            protocol=result.protocol,
            numbers={name: float(value) for name, value in result.numbers().items()},
            provenance=plain(result.provenance()),
            frames=frames,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; NaN becomes null, since JSON has none."""
        return {
            "scene": self.scene,
            "protocol": self.protocol,
            "frames": list(self.frames),
            "numbers": plain(self.numbers),
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Entry":
        """Read what `to_dict` wrote. Raises TypeError, ValueError or the like for anything else."""
        return cls(
            scene=text(values["scene"]),
            protocol=text(values["protocol"]),
            frames=tuple(map(text, values["frames"])),
            numbers={k: math.nan if v is None else float(v) for k, v in values["numbers"].items()},
            provenance=plain(dict(values["provenance"])),
        )


def text(value: Any) -> str:
    """Return `value` if it is text, else raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60}; it must be text: write it so")
    return value


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: lists, text for keys, null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(
        f"{value!r} is of type {type(value).__name__}; a report holds numbers, text and lists: "
        "convert it"
    )
