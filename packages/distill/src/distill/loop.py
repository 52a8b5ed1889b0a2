"""`distill`: train a student to imitate its teacher, resumably."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.batches import as_batches
from distill.config import DistillConfig
from distill.objectives.features import AttentionOutputs
from distill.objectives.objective import Objective
from distill.observe.observer import Forward, Observer, call
from distill.observe.target_store import TargetStore
from distill.processes.interrupt import Interrupt
from distill.processes.sharding import Sharding, sharded
from distill.processes.world import World
from distill.record.pairs import Pair
from distill.reporters.reporter import Quiet, Reporter, Start
from distill.result import Result
from distill.resume.archive import Archive, Resume
from distill.resume.fingerprint import fingerprint
from distill.resume.hold import held_alone
from distill.resume.identity import identify
from distill.resume.progress import Progress
from distill.resume.rng import isolated_rng
from distill.run import Run
from distill.step.determinism import deterministic
from distill.step.modes import own_modes_after
from distill.step.recompute import recomputed_activations
from distill.task import Task, complete_objectives
from distill.trainable.freeze import (
    TrainableReport,
    trainable_parameters,
    trainable_report,
)
from distill.trainable.likeness import Likeness, compare_weights


def distill(
    student: nn.Module,
    teacher: nn.Module,
    batches: Any,
    *,
    pairs: Sequence[Pair] = (),
    objectives: Sequence[Objective] = (AttentionOutputs(),),
    config: DistillConfig,
    forward: Forward = call,
    directory: str | Path | None = None,
    resume: Resume = "auto",
    held_out: Sequence[Any] | None = None,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    count_images: Callable[[Any], int] | None = None,
    store: TargetStore | None = None,
    reporter: Reporter | None = None,
    sharding: Sharding | None = None,
) -> Result:
    """Train a student in place to imitate its teacher.

    What trains is what requires gradients, see `freeze_except`. In several processes, see
    `join_processes`, call it in each with equal arguments: batches are dealt out without
    overlap, gradients are summed, and only the first process writes and reports.

    - `student`: changed in place. Models and random generators are left in their modes.
    - `teacher`: runs in evaluation mode, without gradients.
    - `batches`: a `Batches` source, a sequence (read over and over), or an iterable (which a
      resumed run must read again from its start).
    - `pairs`: modules that objectives without pairs of their own compare.
    - `objectives`: terms of the loss.
    - `config`: see `DistillConfig`.
    - `forward`: `forward(model, batch)` runs either model, moves the batch to its device, and
      returns outputs whose tensors are mapping keys or attributes.
    - `directory`: where log and checkpoints go; None keeps nothing on disk. Who goes on with a run
      gives the same batches and functions: these, unlike settings and models, are not compared.
    - `resume`: "auto" goes on where a run is and starts one where none is; "new" and "continue"
      demand one of these.
    - `held_out`: batches on which the objectives are evaluated, dealt out over the processes.
    - `evaluate`: metrics of the student of the caller's own, called in every process, where those
      of the first count; its names win over those of the objectives.
    - `count_images`: number of images in a batch, for the speed that is reported.
    - `store`: keeps the teacher's targets; the source must have `key(index)`.
    - `reporter`: who listens; nobody by default.
    - `sharding`: spreads the frozen weights of both models over the processes, see `Sharding`; the
      teacher stays whole where there is a store.

    Raises ValueError if the input is wrong, which is found before the first update: a module that
    does not exist, shapes that differ, nothing trainable, or what is the teacher's too, no
    batches, another run's checkpoint, changed settings (each is named).
    Raises Diverged if the guard rolled back more often than allowed.
    """
    trainable = trainable_report(student)
    if config.keep == "best" and directory is None:
        raise ValueError(
            "directory=None; keep='best' needs a directory, where the best checkpoint is kept: "
            "give one, or keep='last'"
        )
    task = Task(
        student=student,
        teacher=teacher,
        batches=as_batches(batches, seed=config.seed),
        objectives=complete_objectives(objectives, pairs),
        config=config,
        held_out=held_out,
        evaluate=evaluate,
        count_images=count_images,
        keys=_keys(batches, config) if store else None,
    )
    likeness = compare_weights(student, teacher)
    world = World.current()
    identity = identify(
        student,
        teacher,
        config=asdict(config),
        objectives={objective.name: objective for objective in task.objectives},
    )
    folder = None if directory is None else Path(directory)
    archive = Archive(folder, identity, writes=world.leads)
    listener = reporter if reporter and world.leads else Quiet()
    with (
        deterministic(config.deterministic, student, teacher),
        held_alone(archive.directory, writes=world.leads),
        isolated_rng(),
        _spread(task, sharding, spread_teacher=store is None) as task,
        _training_mode(task.student, task.teacher),
        recomputed_activations(task.student, config.checkpoint_activations),
        Observer(
            task.student,
            task.teacher,
            task.reading,
            forward=forward,
            autocast=config.autocast,
            store=store,
            spread=() if sharding is None else ("student",) if store else ("student", "teacher"),
        ) as observer,
    ):
        run = Run(task, observer, archive, listener)
        return _train(run, archive, listener, trainable, likeness, resume)


def _train(
    run: Run,
    archive: Archive,
    listener: Reporter,
    trainable: TrainableReport,
    likeness: Likeness,
    resume: Resume,
) -> Result:
    task, world = run.task, World.current()
    checkpoint = archive.open(resume)
    progress = Progress.from_dict(checkpoint.state["progress"]) if checkpoint else None
    run.begin(checkpoint.tensors if checkpoint else None, progress)
    _check_processes(run)
    archive.prepare(run.progress.step, closed=run.progress.closed)
    world.wait()
    listener.started(
        Start(
            step=run.progress.step,
            steps=task.config.steps,
            trainable=trainable,
            equal=likeness.equal,
            different=likeness.different,
            unmatched=likeness.unmatched,
            processes=world.size,
        )
    )
    why = "failed"
    try:
        with Interrupt() as interrupt:
            interrupted = run.train(interrupt)
        why = "interrupted" if interrupted else str(run.progress.stopped)
        _finish(run, archive, interrupted)
        run.end()
    finally:
        listener.ended(why)
    world.wait()
    return replace(_result(run, archive, trainable, interrupted), signal=interrupt.signal)


def _finish(run: Run, archive: Archive, interrupted: bool) -> None:
    """Give the student the weights it is to hold at the end."""
    best = run.progress.best_step
    if run.task.config.keep == "best" and best is not None and not interrupted:
        run.restore(archive.load(best).tensors)
    if run.average:
        run.average.apply()


def _result(run: Run, archive: Archive, trainable: TrainableReport, interrupted: bool) -> Result:
    history, progress = archive.history(), run.progress
    stopped = "interrupted" if interrupted else progress.stopped
    assert stopped is not None
    steps = [entry for entry in history if entry["kind"] == "step"]
    evaluations = [entry for entry in history if entry["kind"] == "evaluation"]
    return Result(
        stopped=stopped,
        steps=progress.step,
        losses=_numbers(steps[-1]["losses"]) if steps else {},
        metrics=_numbers(evaluations[-1]["metrics"]) if evaluations else {},
        best_step=progress.best_step,
        best_value=progress.best_value,
        rollbacks=progress.all_rollbacks,
        seconds=progress.seconds,
        trainable=trainable,
        averaged=run.average is not None,
        history=history,
        directory=archive.directory,
    )


def _numbers(logged: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in logged.items()}


def _keys(batches: Any, config: DistillConfig) -> Callable[[int], str]:
    source = as_batches(batches, seed=config.seed)
    keys: Callable[[int], str] | None = getattr(source, "key", None)
    if keys is None:
        raise ValueError(
            f"batches={type(source).__name__}; a store of targets needs `key(index)`: use "
            "`Cycled`, `Shuffled`, or a source of your own"
        )
    return keys


def _check_processes(run: Run) -> None:
    world = World.current()
    if not world.same(run.progress.step):
        raise ValueError(
            f"step={run.progress.step}; the processes found checkpoints of different steps: put "
            "the run's directory on a disk that all nodes share"
        )
    if not world.same(int(fingerprint(run.state.parameters)[:12], 16)):
        raise ValueError(
            f"rank={world.rank}; the trainable parameters differ between processes: build the "
            "student the same way in each, with the same seed"
        )


@contextmanager
def _spread(task: Task, sharding: Sharding | None, *, spread_teacher: bool) -> Iterator[Task]:
    pairs = task.reading.paired
    trained = trainable_parameters(task.student)
    with (
        sharded(task.student, sharding, trained, [p.student for p in pairs]) as student,
        sharded(
            task.teacher, sharding if spread_teacher else None, {}, [p.teacher for p in pairs]
        ) as teacher,
    ):
        yield replace(task, student=student, teacher=teacher)


@contextmanager
def _training_mode(student: nn.Module, teacher: nn.Module) -> Iterator[None]:
    with own_modes_after(student, teacher):
        student.train()
        teacher.eval()
        try:
            yield
        finally:
            torch.clear_autocast_cache()  # a caller's own would go on with weights of before
