"""Run teacher and student on a batch and collect what the objectives compare."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.fingerprint import fingerprint
from distill.local import LocalSites
from distill.objectives.base import Objective, Observation, read_field
from distill.objectives.local import LocalAttention
from distill.pairs import Tap
from distill.record import Recorder, Records
from distill.rng import seed_all

Forward = Callable[[nn.Module, Any], Any]


def call(model: nn.Module, batch: Any) -> Any:
    """Return `model(batch)`: the forward of models that take a batch as it is."""
    return model(batch)


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

    def save(self, key: str, batch: Any, targets: Targets) -> None:
        """Keep the targets of a batch."""
        ...

    def flush(self) -> None:
        """Bring everything to its place."""
        ...


class Observer:
    """A context manager that runs both models and returns an `Observation`.

    Args:
        student: The model that learns.
        teacher: The model to imitate; it runs without gradients.
        objectives: They say which modules and output fields are needed.
        forward: `forward(model, batch)` for both models.
        autocast: "bfloat16", or None for the models' own precision.
        store: Where the teacher's targets are kept, if anywhere.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        objectives: Sequence[Objective],
        *,
        forward: Forward = call,
        autocast: str | None = None,
        store: TargetStore | None = None,
    ) -> None:
        self._models = {"teacher": teacher, "student": student}
        self._forward, self._autocast, self._store = forward, autocast, store
        local = [o for o in objectives if isinstance(o, LocalAttention)]
        others = [o for o in objectives if o not in local]
        self._local = LocalSites(student, local)
        self._student_runs = bool(others)
        self.fields = tuple(dict.fromkeys(f for o in objectives for f in o.fields))
        pairs = [pair for objective in others for pair in objective.pairs]
        self._recorders = {
            "teacher": Recorder(
                teacher,
                _unique(p.teacher_tap for p in pairs),
                "teacher",
                consumers=self._local.consumers(),
            ),
            "student": Recorder(student, _unique(p.student_tap for p in pairs), "student"),
        }
        self.calls: dict[str, int] = {}

    def __enter__(self) -> "Observer":
        for recorder in self._recorders.values():
            recorder.__enter__()
        self._bind_store()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for recorder in self._recorders.values():
            recorder.__exit__(kind, error, trace)
        if self._store and error is None:
            self._store.flush()

    def observe(
        self,
        batch: Any,
        *,
        seed: int,
        key: str | None = None,
        calls: dict[str, int] | None = None,
    ) -> Observation:
        """Run both models on a batch.

        Args:
            batch: As the source gave it.
            seed: Each pass starts with random generators seeded by this, so that a pass
                that is skipped changes nothing.
            key: Name of the batch in the store, if there is one.
            calls: Tensors that a pass of "teacher" and "student" puts out; each pass ends
                with the last of them. Without it, passes run to their end.
        """
        self._local.learns = torch.is_grad_enabled()
        targets = self._targets(batch, seed, key, calls)
        local = self._local.take()
        outputs = self._run("student", batch, seed, calls) if self._student_runs else None
        return Observation(
            batch=batch,
            outputs=outputs,
            student=self._recorders["student"].take(),
            teacher=targets.records,
            student_fields={name: read_field(outputs, name) for name in self.fields},
            teacher_fields=targets.fields,
            local=local,
        )

    def _targets(
        self, batch: Any, seed: int, key: str | None, calls: dict[str, int] | None
    ) -> Targets:
        kept = self._store.load(key, batch) if self._store and key is not None else None
        if kept is not None:
            return kept
        with torch.no_grad():
            outputs = self._run("teacher", batch, seed, calls)
        targets = Targets(
            records=self._recorders["teacher"].take(),
            fields={name: read_field(outputs, name).detach() for name in self.fields},
        )
        if self._store and key is not None:
            self._store.save(key, batch, targets)
        return targets

    def _run(self, role: str, batch: Any, seed: int, calls: dict[str, int] | None) -> Any:
        seed_all(seed)
        recorder, outputs = self._recorders[role], None
        expected = calls.get(role) if calls else None
        with self._precision(), recorder.recording(expected):
            outputs = self._forward(self._models[role], batch)
        self.calls[role] = recorder.count()
        return outputs

    def _bind_store(self) -> None:
        if self._store is None:
            return
        teacher = dict(self._models["teacher"].named_parameters())
        self._store.bind(
            self._recorders["teacher"].taps,
            list(self.fields),
            device=str(next(self._models["student"].parameters()).device),
            identity={"teacher weights": fingerprint(teacher), "autocast": self._autocast},
        )

    def _precision(self) -> AbstractContextManager[Any]:
        device = next(self._models["student"].parameters()).device.type
        enabled = self._autocast is not None
        return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


def measure(objectives: Sequence[Objective], seen: Observation) -> dict[str, Float[Tensor, ""]]:
    """Return the unweighted loss of every objective, and their weighted sum as "loss"."""
    losses = {objective.name: objective(seen) for objective in objectives}
    total = torch.stack([o.weight * losses[o.name].float() for o in objectives]).sum()
    return {"loss": total} | losses


def _unique(taps: Iterable[Tap]) -> list[Tap]:
    return list(dict.fromkeys(taps))
