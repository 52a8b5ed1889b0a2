"""What the teacher said about a batch, and who may keep it for the next time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from distill.record.pairs import Tap
from distill.record.recorder import Records


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the teacher said about one batch: recorded tensors and output fields."""

    records: Records
    fields: dict[str, Tensor]


@runtime_checkable
class TargetStore(Protocol):
    """Keeps the teacher's targets of batches that come again."""

    def bind(
        self, taps: list[Tap], fields: list[str], *, device: str, identity: Mapping[str, Any]
    ) -> None:
        """Say what the targets are, whose, and where loaded tensors go."""
        ...

    def load(self, key: str, batch: Any) -> Targets | None:
        """Return the targets of a batch, or None where they are not kept yet."""
        ...

    def save(self, key: str, batch: Any, targets: Targets) -> str | None:
        """Keep the targets of a batch; return what a user should know, None for nothing."""
        ...

    def flush(self) -> str | None:
        """Bring everything to its place; return what a user should know, None for nothing."""
        ...
