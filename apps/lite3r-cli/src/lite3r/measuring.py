"""What a model is worth on scenes: quality against the truth, and what one scene costs."""

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone, Prediction
from recon_eval import Report, depth, efficiency, pose
from recon_eval.data import Scene

SECONDS = 30.0  # what repetitions of one comparison may take
DEPTH, POSE = "depth/median/sequence", "pose/pairs/signed"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one model, as the columns of the report know them; None where unknown."""

    absrel: float | None
    delta1: float | None
    rotation_degrees: float | None
    translation_degrees: float | None
    auc30: float | None

    def row(self, label: str, **more: float | int | None) -> dict[str, float | int | str | None]:
        """A row of the table."""
        return {"label": label, **vars(self), **more}


def compared(backbone: Any, images: Float[Tensor, "b v 3 y x"]) -> Prediction:
    """Run a model that is to be compared with another: the first view leads in both.

    Depth Anything 3 chooses the leading view from its own tokens, and the last bits decide
    between similar views. Two models that choose differently answer in different orders and
    frames, and nothing can be said of their layers.
    """
    images = images.to(next(backbone.parameters()).device)
    prediction: Prediction = backbone(images, reference="first")
    return prediction


def predict(backbone: Backbone, scene: Scene) -> Prediction:
    """Run a model on one scene, as `compared`; the result is on the CPU."""
    with torch.inference_mode():
        return compared(backbone, scene.images[None]).to("cpu")


def evaluate(
    backbone: Backbone,
    scenes: Sequence[Scene],
    *,
    label: str,
    dataset: str,
    seed: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compare a model with the truth on every scene.

    Depth: one median scale for all views of a scene. Poses: all pairs of views.
    """
    report = Report(model=label, dataset=dataset, seed=seed)
    for scene in scenes:
        report.add(scene.name, *results(predict(backbone, scene), scene))
        advance()
    return report


def results(prediction: Prediction, scene: Scene) -> list[Any]:
    """The results of one scene, for what its truth holds."""
    found: list[Any] = []
    if scene.depth is not None:
        found.append(depth.evaluate(prediction.depth[0].float(), scene.depth, scene.valid))
    if scene.world_to_camera is not None and scene.num_views > 1:
        found.append(pose.evaluate(prediction.world_to_camera[0].float(), scene.world_to_camera))
    if not found:
        raise ValueError(f"{scene.name}: has neither true depth nor true cameras to compare with")
    return found


def figures(report: Report) -> Figures:
    """The table's figures: means over scenes."""

    def mean(protocol: str, metric: str) -> float | None:
        values = [v for v in report.values(protocol, metric).values() if v == v]
        return statistics.fmean(values) if values else None

    return Figures(
        absrel=mean(DEPTH, "abs_rel"),
        delta1=mean(DEPTH, "delta1"),
        rotation_degrees=mean(POSE, "rotation_degrees"),
        translation_degrees=mean(POSE, "direction_degrees"),
        auc30=mean(POSE, "auc30"),
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one scene costs a model on this machine; every repetition is kept.

    flops: floating-point operations of one scene, a multiply-add as two; `flops` says of what.
    """

    latencies_ms: list[float] = field(default_factory=list)
    peak_memory_bytes: int
    flops: int

    @property
    def latency_ms(self) -> float:
        """Median latency."""
        return statistics.median(self.latencies_ms)


def compare_costs(
    models: Mapping[str, Any],
    images: Float[Tensor, "b v 3 y x"],
    *,
    repeats: int,
    device: str,
    seconds: float = SECONDS,
) -> dict[str, Cost]:
    """Time models on images in turn, so that what disturbs the machine disturbs all.

    One round warms up; of `repeats` timed rounds, as many as fit into `seconds` are made, one at
    least.
    """
    images = images.to(device)

    def call(model: Any) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return model(images)

        return run

    calls = {name: call(model) for name, model in models.items()}

    def round_of_calls() -> dict[str, tuple[float, ...]]:
        timed = efficiency.time_calls
        return {n: timed(run, warmup=0, repeats=1, device=device) for n, run in calls.items()}

    round_of_calls()  # its time says little: some models compile in it
    rounds = [round_of_calls()]
    taken = sum(sum(times) for times in rounds[0].values()) / 1e3
    affordable = int(seconds / max(taken, 1e-3))
    rounds += [round_of_calls() for _ in range(min(repeats, affordable) - 1)]
    times = {name: [ms for found in rounds for ms in found[name]] for name in calls}
    return {name: _cost(run, times[name], device) for name, run in calls.items()}


def _cost(run: Callable[[], object], times: list[float], device: str) -> Cost:
    """Put memory and operations to the times: one more call each."""
    with _silent_profiler():
        peak = efficiency.peak_memory(run, device=device)
    return Cost(
        latencies_ms=times,
        peak_memory_bytes=peak.working_bytes,
        flops=efficiency.count_flops(run),
    )


@contextmanager
def _silent_profiler() -> Iterator[None]:
    """Drop the lines that PyTorch's profiler writes to file descriptor 2, past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
