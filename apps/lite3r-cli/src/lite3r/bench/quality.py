"""What a model is worth on scenes: its answers held against the truth, or another's."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import recon_eval
from lite3r.shell.errors import reported
from recon_backbones import Backbone, Prediction
from recon_eval import Answer, Report
from recon_eval.data import Scene

Figures = dict[str, float | None]


def compared(backbone: Any, images: Float[Tensor, "b v 3 y x"]) -> Prediction:
    """Run a model that is to be compared with another: the first view leads in both.

    Depth Anything 3 chooses the leading view from its own tokens, and the last bits decide
    between similar views. Two models that choose differently answer in different orders and
    frames, and nothing can be said of their layers. Raises UserError where it finds no cameras.
    """
    images = images.to(next(backbone.parameters()).device)
    with reported(of=("recon_backbones.da3.single",)):
        prediction: Prediction = backbone(images, reference="first")
    return prediction


def predict(backbone: Backbone, scene: Scene) -> Prediction:
    """Run a model on one scene, as `compared`; the result is on the CPU."""
    with torch.inference_mode():
        return compared(backbone, scene.images[None]).to("cpu")


def answer_of(prediction: Prediction) -> Answer:
    """A prediction of one scene, as it is held against the truth."""
    return Answer(
        depth=prediction.depth[0],
        world_to_camera=prediction.world_to_camera[0],
        intrinsics=prediction.intrinsics[0],
    )


def answerer(backbone: Backbone) -> Callable[[Scene], Answer]:
    """What answers for scenes, one after another."""
    return lambda scene: answer_of(predict(backbone, scene))


def evaluate(backbone: Backbone, scenes: Iterable[Scene], **about: Any) -> Report:
    """Compare a model with the truth on every scene, as `recon_eval.evaluate` takes the rest."""
    return recon_eval.evaluate(answerer(backbone), scenes, **about)


def changes(answer: Prediction, dense: Prediction) -> Figures:
    """How far depth and cameras are from those of the dense network; no truth is needed."""
    told, known = ((p.depth[0], p.world_to_camera[0]) for p in (answer, dense))
    return {**recon_eval.against_another(*told, *known)}
