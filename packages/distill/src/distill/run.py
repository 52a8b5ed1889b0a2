"""The training loop, step by step."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from distill.evaluate import Evaluator, judge
from distill.objectives.objective import measure
from distill.observe.observer import Observer
from distill.processes.interrupt import Interrupt
from distill.processes.world import World
from distill.reporters.reporter import Reporter, StepRecord
from distill.resume.archive import Archive
from distill.resume.progress import Progress
from distill.resume.rng import seed_all, seed_for
from distill.resume.state import TrainingState
from distill.step.average import Average
from distill.step.guard import Diverged, find_fault
from distill.step.optimizer import make_optimizer
from distill.step.schedule import learning_rate_at
from distill.task import Task
from distill.trainable.buffers import Unfinished
from distill.trainable.freeze import trainable_parameters


class Run:
    """A run in progress.

    - `task`: what to do.
    - `observer`: runs both models; its hooks are in place.
    - `archive`: where to save.
    - `reporter`: who listens.
    """

    def __init__(
        self, task: Task, observer: Observer, archive: Archive, reporter: Reporter
    ) -> None:
        self.task, self._observer = task, observer
        self._archive, self._reporter = archive, reporter
        self._world, config = World.current(), task.config
        self.optimizer = make_optimizer(
            task.student,
            learning_rate=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        parameters = trainable_parameters(task.student)
        self.average = Average(parameters, config.ema_decay) if config.ema_decay else None
        self.state = TrainingState(task.student, self.optimizer, self.average)
        self._unfinished = Unfinished(task.student)
        self.progress = Progress()
        self._evaluator = Evaluator(task, observer)
        self._snapshot: dict[str, Tensor] = {}
        self._updating = False
        self._checked = False

    def begin(self, tensors: Mapping[str, Tensor] | None, progress: Progress | None) -> None:
        """Go on from a checkpoint, or from the student as it is."""
        if tensors is not None and progress is not None:
            self.progress = progress
            self.restore(tensors)
        kept = {
            name.removeprefix("snapshot/"): tensor
            for name, tensor in (tensors or {}).items()
            if name.startswith("snapshot/")
        }
        self._take_snapshot(kept)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back the state in a checkpoint, and not what a rollback would go back to."""
        self.state.restore({k: v for k, v in tensors.items() if not k.startswith("snapshot/")})

    def end(self) -> None:
        """Bring the targets that a store still holds to the disk."""
        self._observer.flush()
        self._pass_on_warnings()

    def train(self, interrupt: Interrupt) -> bool:
        """Take steps until the run is over; return whether it was interrupted.

        An error leaves a checkpoint of the last whole step behind.
        """
        begun = self.progress.step
        try:
            if not self.progress.closed:
                self._close_step()
            while self.progress.stopped is None:
                if self._step(interrupt):
                    self._save(planned=False)
                    return self.progress.stopped is None
        except BaseException:
            if not self._updating and self._unfinished.undo() and self.progress.step > begun:
                self._save(planned=False)
            raise
        return False

    def _step(self, interrupt: Interrupt) -> bool:
        config, began = self.task.config, time.perf_counter()
        step = self.progress.step
        self.optimizer.zero_grad()
        self._unfinished.begin()
        losses, images, asked = self._gradients(step, interrupt)
        rate = learning_rate_at(
            step,
            steps=config.steps,
            peak=config.learning_rate,
            warmup_steps=config.warmup_steps,
            final=config.final_learning_rate,
        )
        norm = self._update(losses["loss"], rate)
        seconds = time.perf_counter() - began
        self.progress.seconds += seconds
        self._report(
            StepRecord(
                step=step + 1,
                losses=losses,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=seconds,
                images=images,
            )
        )
        self._close_step()
        return asked

    def _gradients(self, step: int, interrupt: Interrupt) -> tuple[dict[str, float], int, bool]:
        config, world, images = self.task.config, self._world, 0
        names: list[str] = []
        total = torch.zeros(0, device="cpu")
        for micro in world.share(config.accumulation):
            index = step * config.accumulation + micro
            seed_all(config.seed, index)
            batch = self.task.batches.at(index)
            images += self.task.count_images(batch) if self.task.count_images else 0
            losses = self._losses(batch, index)
            torch.autograd.backward(losses["loss"] / config.accumulation)
            names = list(losses)
            values = torch.stack([loss.detach().double() for loss in losses.values()])
            total = values if total.numel() == 0 else total + values
        self._world.sum_gradients(list(self.state.parameters.values()))
        extra = torch.tensor([images, interrupt.asked], dtype=total.dtype, device=total.device)
        *sums, all_images, asked = world.sum(torch.cat([total, extra])).tolist()
        means = {n: value / config.accumulation for n, value in zip(names, sums, strict=True)}
        return means, int(all_images), bool(asked) or (world.size == 1 and interrupt.asked)

    def _losses(self, batch: Any, index: int) -> dict[str, Tensor]:
        seen = self._observer.observe(
            batch,
            seed=seed_for(self.task.config.seed, index),
            key=self.task.keys(index) if self.task.keys else None,
            calls=self._calls(),
        )
        self._pass_on_warnings()
        if self.task.config.run_until == "last_pair":
            self.progress.calls = self._observer.calls | self.progress.calls
        with self._observer.comparing():
            losses = measure(self.task.objectives, seen)
        if not losses["loss"].requires_grad:
            raise ValueError(
                f"trainable={list(self.state.parameters)[:5]}; the loss does not depend on any "
                "trainable parameter: pair modules at or after what trains"
            )
        return losses

    def _calls(self) -> dict[str, int] | None:
        return self.progress.calls if self.task.config.run_until == "last_pair" else None

    def _update(self, loss: float, rate: float) -> float:
        config, progress = self.task.config, self.progress
        self._check_gradients()
        limit = float("inf") if config.clip_norm is None else config.clip_norm
        norm = float(nn.utils.clip_grad_norm_(self.state.parameters.values(), limit))
        guard = config.guard
        fault = find_fault(guard, progress.recent, loss, norm) if guard else None
        self._updating = True
        if fault:
            self._roll_back(fault)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            if self.average:
                self.average.update(progress.step + 1)
            progress.recent = [*progress.recent, loss][-guard.history :] if guard else []
        progress.step += 1
        progress.closed, self._updating = False, False
        self._unfinished.end()
        return norm

    def _check_gradients(self) -> None:
        if self._checked:
            return
        self._checked = True
        idle = [name for name, p in self.state.parameters.items() if p.grad is None]
        if idle:
            self._warn(
                f"{len(idle)} of {len(self.state.parameters)} trainable parameters get no "
                f"gradient from the objectives: {', '.join(idle[:5])}."
            )

    def _roll_back(self, fault: str) -> None:
        progress, guard = self.progress, self.task.config.guard
        assert guard is not None
        self.state.restore(self._snapshot)
        progress.rollbacks += 1
        progress.all_rollbacks += 1
        why = (
            f"Step {progress.step + 1}: {fault}. Its update is left out and the state of step "
            f"{progress.snapshot_step} is back."
        )
        self._archive.note(step=progress.step + 1, kind="rollback", text=why)
        self._reporter.warned(why)
        if progress.rollbacks > guard.max_rollbacks:
            raise Diverged(
                f"rollbacks={progress.rollbacks}; {guard.max_rollbacks} to the same state are "
                f"allowed. {why} Lower learning_rate, or raise guard.spike"
            )

    def _close_step(self) -> None:
        config, step = self.task.config, self.progress.step
        last = step == config.steps
        kept = self.progress.best_step, self.progress.best_value
        best = self._evaluate_if_due(last)
        if self.progress.stopped is None and last:
            self.progress.stopped = "finished"
        self.progress.closed = True
        if best or step % config.checkpoint_every == 0 or self.progress.stopped:
            self._take_snapshot({})
            saved = self._save(planned=True)
            # Every process waits for the writer: it will read what is best.
            if best and config.keep == "best" and self._world.any(not saved):
                self.progress.best_step, self.progress.best_value = kept

    def _evaluate_if_due(self, last: bool) -> bool:
        config, step = self.task.config, self.progress.step
        due = last or (config.evaluate_every is not None and step % config.evaluate_every == 0)
        if not (due and self.task.evaluates):
            return False
        began = time.perf_counter()
        with self.average.applied() if self.average else nullcontext():
            metrics = self._evaluator(self._calls())
        self.progress.seconds += time.perf_counter() - began
        self._archive.note(step=step, kind="evaluation", metrics=metrics)
        self._reporter.evaluated(step, metrics)
        return judge(config, self.progress, metrics)

    def _take_snapshot(self, tensors: dict[str, Tensor]) -> None:
        if self.task.config.guard is None:
            return
        if not tensors:
            tensors = self.state.snapshot()
            self.progress.rollbacks = 0
            self.progress.snapshot_step = self.progress.step
        self._snapshot = tensors

    def _save(self, *, planned: bool) -> bool:
        """Write a checkpoint; return False where the disk is full."""
        tensors = self.state.capture()
        if not planned:
            tensors |= {f"snapshot/{name}": tensor for name, tensor in self._snapshot.items()}
        warning = self._archive.save(self.progress.step, tensors, self.progress.to_dict())
        if warning:
            self._warn(warning)
            return False
        self._archive.prune(keep_last=self.task.config.keep_last, best=self.progress.best_step)
        return True

    def _report(self, record: StepRecord) -> None:
        self._archive.note(
            step=record.step,
            kind="step",
            losses=dict(record.losses),
            learning_rate=record.learning_rate,
            gradient_norm=record.gradient_norm,
            seconds=record.seconds,
            images=record.images,
        )
        self._reporter.stepped(record)

    def _pass_on_warnings(self) -> None:
        while self._observer.warnings:
            self._warn(self._observer.warnings.pop(0))

    def _warn(self, text: str) -> None:
        self._archive.note(step=self.progress.step, kind="warning", text=text)
        self._reporter.warned(text)
