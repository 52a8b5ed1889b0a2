"""Held-out losses and metrics, the same number from any number of processes."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from distill.config import DistillConfig
from distill.objectives.objective import measure
from distill.observe.observer import Observer
from distill.processes.world import World
from distill.resume.progress import Progress
from distill.resume.rng import seed_all, seed_for
from distill.task import Task

Metrics = dict[str, float]


def sharded_mean(
    count: int, measure: Callable[[int], Mapping[str, float]], *, seed: int = 0
) -> Metrics:
    """Return the mean of each metric over items 0 to `count` - 1.

    Each process measures its share of the items; the mean is taken over all of them in
    order, so that it is bit-equal for every number of processes. A process whose share is
    smaller measures its last item again and drops the result: where a model is spread over
    the processes, all of them must run it equally often.

    - `count`: number of items, at least 1.
    - `measure`: metrics of one item; the same names for every item.
    - `seed`: every item is measured with random generators seeded by this and its number.

    Raises ValueError if there are no items, for what are no metrics, and if the metrics of the
    items differ in name.
    """
    if count < 1:
        raise ValueError(f"count={count}; there is nothing to evaluate: give at least one item")
    world, rows, names = World.current(), {}, None
    share = [*world.share(count), *[count - 1] * world.idle_turns(count)]
    for item in share:
        seed_all(seed, "held-out", item)
        metrics = _told("measure", measure(item))
        names = names or list(metrics)
        if list(metrics) != names:
            raise ValueError(
                f"metrics={list(metrics)} of item {item}; all items must have the same, and "
                f"others have {names}: measure the same of each"
            )
        rows[item] = list(metrics.values())
    for item in share[len(world.share(count)) :]:
        del rows[item]
    return _merge(world, count, rows, names)


def _told(function: str, found: object) -> Metrics:
    """Read what a function of the caller returned. Raises ValueError if that are no metrics."""
    if not isinstance(found, Mapping):
        raise ValueError(
            f"{function}={type(found).__name__}; it must return numbers by name: let it return "
            '{"depth_error": 0.1}, say'
        )
    metrics = {}
    for name, value in found.items():
        try:
            metrics[name] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{name}={type(value).__name__} of {function}; a metric must be one number: return "
                f"its mean, or leave it out ({error})"
            ) from error
    return metrics


def _merge(
    world: World, count: int, rows: Mapping[int, Sequence[float]], names: list[str] | None
) -> Metrics:
    names = world.first(names)
    table = torch.zeros(count, len(names), dtype=torch.float64, device="cpu")
    for item, values in rows.items():
        table[item] = torch.tensor(values, dtype=torch.float64, device="cpu")
    columns = world.sum(table).T.tolist()
    return {
        name: math.fsum(column) / count if all(map(math.isfinite, column)) else math.nan
        for name, column in zip(names, columns, strict=True)
    }


class Evaluator:
    """Measures a student on held-out batches and by the caller's own function.

    - `task`: what there is to evaluate on.
    - `observer`: runs both models; its hooks are in place.
    """

    def __init__(self, task: Task, observer: Observer) -> None:
        self._task, self._observer = task, observer

    def __call__(self, calls: dict[str, int] | None) -> Metrics:
        """Return all metrics of the student as it is, in evaluation mode, without gradients.

        - `calls`: as in `Observer.observe`.
        """
        task, metrics = self._task, {}
        with _evaluation_mode(task), torch.no_grad():
            if task.held_out is not None:
                measure_item = partial(self._held_out, calls=calls)
                metrics = sharded_mean(len(task.held_out), measure_item, seed=task.config.seed)
            if task.evaluate:
                seed_all(task.config.seed, "evaluate")
                torch.clear_autocast_cache()  # the weights have changed since
                found = _told("evaluate", task.evaluate(task.student))
                metrics |= World.current().of_first(found)  # all must judge alike
        return metrics

    def _held_out(self, item: int, calls: dict[str, int] | None) -> Metrics:
        assert self._task.held_out is not None
        seen = self._observer.observe(
            self._task.held_out[item],
            seed=seed_for(self._task.config.seed, "held-out", item),
            key=f"held-out-{item}" if self._task.keys else None,
            calls=calls,
        )
        with self._observer.comparing():
            losses = measure(self._task.objectives, seen)
        return {name: float(loss) for name, loss in losses.items()}


def judge(config: DistillConfig, progress: Progress, metrics: Metrics) -> bool:
    """Note in `progress` what an evaluation means; return whether it is the best so far.

    Raises ValueError if the monitored metric is not among the metrics, unless it is the usual one
    and nothing depends on it.
    """
    if config.monitor not in metrics:
        if config.monitor == "loss" and not config.patience and config.keep == "last":
            return False
        raise ValueError(
            f"monitor={config.monitor!r}; it must be a metric, and these are {list(metrics)}: let "
            "`evaluate` return it, or choose one of them for a new run"
        )
    sign, most = 1 if config.monitor_mode == "min" else -1, sys.float_info.max
    value = metrics[config.monitor]
    value = value if math.isnan(value) else max(-most, min(value, most))  # JSON knows no infinity
    old = progress.best_value
    if not math.isnan(value) and (old is None or sign * value < sign * old):
        progress.best_step, progress.best_value = progress.step, value
        progress.evaluations_without_better = 0
        return True
    progress.evaluations_without_better += 1
    if config.patience and progress.evaluations_without_better >= config.patience:
        progress.stopped = "early"
    return False


@contextmanager
def _evaluation_mode(task: Task) -> Iterator[None]:
    task.student.eval()
    try:
        yield
    finally:
        task.student.train()
        task.teacher.eval()
