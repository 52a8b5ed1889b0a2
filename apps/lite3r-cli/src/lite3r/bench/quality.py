"""What a model is worth on scenes: its answers held against the truth."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lite3r.bench.metrics import PAPER_SOURCES, SOURCES
from recon_backbones import Backbone, Prediction
from recon_eval import Report, against_another, against_truth, conventions
from recon_eval.data import Scene

Figures = dict[str, float | None]
Protocol = Literal["median", "paper"]


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
    protocol: Protocol = "median",
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compare a model with the truth on every scene.

    - `protocol`: "median" is one median scale for all views of a scene, and all pairs of views;
      "paper" what the code of Lite3R's paper measures.
    """
    report = Report(model=label, dataset=dataset, seed=seed)
    measured = results if protocol == "median" else as_in_the_paper
    for scene in scenes:
        report.add(scene.name, *measured(predict(backbone, scene), scene))
        advance()
    return report


def results(prediction: Prediction, scene: Scene) -> list[Any]:
    """The results of one scene, for what its truth holds."""
    depth, cameras = prediction.depth[0], prediction.world_to_camera[0]
    return against_truth(scene, depth=depth, world_to_camera=cameras)


def as_in_the_paper(prediction: Prediction, scene: Scene) -> list[Any]:
    """The results of one scene by the protocol of the paper's code."""
    return list(
        conventions.lite3r.evaluate_sample(
            prediction.depth[0].float(),
            prediction.world_to_camera[0].float(),
            prediction.intrinsics[0].float(),
            scene,
        )
    )


def changes(answer: Prediction, dense: Prediction) -> Figures:
    """How far depth and cameras are from those of the dense network; no truth is needed."""
    told, known = ((p.depth[0], p.world_to_camera[0]) for p in (answer, dense))
    return {**against_another(*told, *known)}


def means(report: Report, protocol: Protocol = "median") -> dict[str, float | None]:
    """Means over scenes of every figure of quality, by key; None where it is unknown."""
    found: dict[str, float | None] = {}
    sources = SOURCES if protocol == "median" else PAPER_SOURCES
    for key, source in sources.items():
        values = [v for v in report.values(source, key).values() if v == v]
        found[key] = statistics.fmean(values) if values else None
    return found
