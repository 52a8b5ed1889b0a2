"""Run teacher and student on a batch and collect what the objectives compare."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn

from distill.observe.local_sites import LocalSites
from distill.observe.observation import Observation, read_field
from distill.observe.parts import form, left_whole
from distill.observe.reading import Reading
from distill.observe.target_store import Targets, TargetStore
from distill.processes.world import World
from distill.record.names import Role
from distill.record.pairs import Tap
from distill.record.recorder import Recorder, usable
from distill.resume.fingerprint import fingerprint_model
from distill.resume.rng import seed_all

Autocast = Literal["bfloat16"]
Forward = Callable[[nn.Module, Any], Any]


def call(model: nn.Module, batch: Any) -> Any:
    """Return `model(batch)`: the forward of models that take a batch as it is."""
    return model(batch)


class Observer:
    """A context manager that runs both models and returns an `Observation`.

    - `student`: the model that learns.
    - `teacher`: the model to imitate; it runs without gradients.
    - `reading`: which modules and output fields are needed.
    - `forward`: `forward(model, batch)` for both models.
    - `autocast`: "bfloat16", or None for the models' own precision.
    - `store`: where the teacher's targets are kept, if anywhere.
    - `spread`: which models are spread over the processes.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        reading: Reading,
        *,
        forward: Forward = call,
        autocast: Autocast | None = None,
        store: TargetStore | None = None,
        spread: Sequence[Role] = (),
    ) -> None:
        self._models = {"teacher": teacher, "student": student}
        self._forward, self._autocast, self._store = forward, autocast, store
        self._spread = spread
        self._local = LocalSites(student, reading.local)
        self._student_runs = reading.student_runs
        self.fields = tuple(reading.fields)
        self._recorders = {
            "teacher": Recorder(
                teacher,
                _unique(p.teacher_tap for p in reading.pairs),
                "teacher",
                consumers=self._local.consumers(),
            ),
            "student": Recorder(student, _unique(p.student_tap for p in reading.pairs), "student"),
        }
        self.calls: dict[str, int] = {}
        self.warnings: list[str] = []  # of the store, for who reports

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
        if error is None:
            self.flush()

    def flush(self) -> None:
        """Let the store bring to its place what it still holds."""
        warning = self._store.flush() if self._store else None
        self.warnings += [warning] if warning else []

    def observe(
        self,
        batch: Any,
        *,
        seed: int,
        key: str | None = None,
        calls: dict[str, int] | None = None,
    ) -> Observation:
        """Run both models on a batch.

        - `batch`: as the source gave it.
        - `seed`: each pass starts with random generators seeded by this, so that a pass that is
          skipped changes nothing.
        - `key`: name of the batch in the store, if there is one.
        - `calls`: tensors that a pass of "teacher" and "student" puts out on batches of a form;
          each pass ends with the last of them. Without it, and on a new form, passes run to their
          end.

        Raises ValueError if a model overwrites the batch.
        """
        self._local.learns = torch.is_grad_enabled()
        with left_whole(batch):
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
            fields={name: usable(read_field(outputs, name).detach()) for name in self.fields},
        )
        if self._store and key is not None:
            warning = self._store.save(key, batch, targets)
            self.warnings += [warning] if warning else []
        return targets

    def _run(self, role: str, batch: Any, seed: int, calls: dict[str, int] | None) -> Any:
        seed_all(seed)
        recorder, outputs = self._recorders[role], None
        name = f"{role} {form(batch)}"
        expected = calls.get(name) if calls else None
        if calls is not None and role in self._spread and World.current().any(expected is None):
            expected = None  # all processes gather the weights of the same modules
        torch.clear_autocast_cache()  # which a caller's own autocast would keep from step to step
        with self._precision(), recorder.recording(expected):
            outputs = self._forward(self._models[role], batch)
        self.calls[name] = recorder.count()
        return outputs

    def _bind_store(self) -> None:
        if self._store is None:
            return
        teacher = fingerprint_model(self._models["teacher"])
        self._store.bind(
            self._recorders["teacher"].taps,
            list(self.fields),
            device=str(next(self._models["student"].parameters()).device),
            identity={"teacher weights": teacher, "autocast": self._autocast},
        )

    def comparing(self) -> AbstractContextManager[Any]:
        """Let objectives compare what is there: a caller's autocast would round pixels."""
        return torch.autocast(self._device, enabled=False)

    def _precision(self) -> AbstractContextManager[Any]:
        enabled = self._autocast is not None
        return torch.autocast(self._device, dtype=torch.bfloat16, enabled=enabled)

    @property
    def _device(self) -> str:
        return next(self._models["student"].parameters()).device.type


def _unique(taps: Iterable[Tap]) -> list[Tap]:
    return list(dict.fromkeys(taps))
