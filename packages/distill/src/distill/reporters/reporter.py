"""What a run tells, and who may listen: the library itself never prints."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from distill.trainable.freeze import TrainableReport


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is known before the first step.

    - `step`: first step of this session, above zero where a run was resumed.
    - `steps`: steps of the whole run.
    - `trainable`: what trains.
    - `equal`: frozen parameters of the student equal to the teacher's of the same name.
    - `different`: frozen parameters of the student that differ from the teacher's.
    - `unmatched`: frozen parameters of the student that the teacher does not have.
    - `processes`: number of processes.
    """

    step: int
    steps: int
    trainable: TrainableReport
    equal: int
    different: int
    unmatched: int
    processes: int

    def __str__(self) -> str:
        return (
            f"{self.trainable}. Frozen tensors: {self.equal} equal to the teacher's, "
            f"{self.different} different, {self.unmatched} without a counterpart."
        )


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One optimizer step.

    - `step`: steps done, from 1.
    - `losses`: weighted sum ("loss") and every objective by name, unweighted, mean over the
      batches of the step and all processes.
    - `learning_rate`: used in this step.
    - `gradient_norm`: before clipping.
    - `seconds`: duration of the step.
    - `images`: images in the step over all processes, 0 where nobody counts them.
    """

    step: int
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float
    images: int


@runtime_checkable
class Reporter(Protocol):
    """Listens to a run; only the first process reports."""

    def started(self, start: Start) -> None:
        """The run is about to take its first step."""
        ...

    def stepped(self, record: StepRecord) -> None:
        """A step is done."""
        ...

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """The student was evaluated after `step` steps."""
        ...

    def warned(self, text: str) -> None:
        """Something happened that a user should know."""
        ...

    def ended(self, why: str) -> None:
        """The run is over: "finished", "early", "interrupted" or "failed"."""
        ...


class Quiet:
    """A reporter that says nothing."""

    def started(self, start: Start) -> None:
        """Say nothing."""

    def stepped(self, record: StepRecord) -> None:
        """Say nothing."""

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say nothing."""

    def warned(self, text: str) -> None:
        """Say nothing."""

    def ended(self, why: str) -> None:
        """Say nothing."""


class Together:
    """Several reporters at once.

    - `reporters`: each hears everything, in this order.
    """

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def started(self, start: Start) -> None:
        """Tell every reporter."""
        for reporter in self._reporters:
            reporter.started(start)

    def stepped(self, record: StepRecord) -> None:
        """Tell every reporter."""
        for reporter in self._reporters:
            reporter.stepped(record)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell every reporter."""
        for reporter in self._reporters:
            reporter.evaluated(step, metrics)

    def warned(self, text: str) -> None:
        """Tell every reporter."""
        for reporter in self._reporters:
            reporter.warned(text)

    def ended(self, why: str) -> None:
        """Tell every reporter, also where one of them fails: each has something to close."""
        with ExitStack() as stack:
            for reporter in reversed(self._reporters):
                stack.callback(reporter.ended, why)
