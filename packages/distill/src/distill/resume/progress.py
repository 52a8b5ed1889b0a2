"""Where a run is, in plain values."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Ended = Literal["finished", "early"]


@dataclass(kw_only=True)
class Progress:
    """Where a run is. All fields are plain values.

    - `step`: optimizer steps done; the place of the sampler and the seed of everything random
      follow from it.
    - `seconds`: time spent in steps and evaluations, over all restarts.
    - `best_step`: step of the best evaluation, None before the first.
    - `best_value`: its monitored metric.
    - `evaluations_without_better`: since the best.
    - `recent`: losses of the last good steps, oldest first.
    - `rollbacks`: rollbacks to the present snapshot.
    - `all_rollbacks`: rollbacks in the whole run.
    - `snapshot_step`: step of that snapshot.
    - `closed`: whether the evaluation that was due after the last step is done.
    - `calls`: recorded tensors in one pass of "teacher" and "student", by the form of the batch.
    - `stopped`: why the run ended, None while it goes on.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_value: float | None = None
    evaluations_without_better: int = 0
    recent: list[float] = field(default_factory=list)
    rollbacks: int = 0
    all_rollbacks: int = 0
    snapshot_step: int = 0
    closed: bool = True
    calls: dict[str, int] = field(default_factory=dict)
    stopped: Ended | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """Return the progress that `to_dict` described."""
        return cls(**values)
