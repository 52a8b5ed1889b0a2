"""Scenes beside what several models answer: pictures of depth, and how far answers differ."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from einops import rearrange

from recon_eval.answers import Answer, against_another
from recon_eval.pages import SceneFigure
from recon_eval.sets.scene import Scene

SHOWN_VIEWS = 4
TRUTH = "true depth"


class Gallery:
    """Scenes, and what one model after another answers to them; a model may change afterwards.

    - `base`: label of the model that the others are compared with.
    """

    def __init__(self, scenes: Sequence[Scene], *, base: str) -> None:
        self._scenes, self._base = tuple(scenes), base
        self._answers: dict[str, list[Answer]] = {}

    def look(self, label: str, answer: Callable[[Scene], Answer]) -> None:
        """Keep what a model answers now."""
        self._answers[label] = [answer(scene) for scene in self._scenes]

    def figures(self, different: Iterable[str] = ()) -> list[SceneFigure]:
        """The first views of every scene and each model's depth.

        - `different`: models whose differences from the base are shown, of those that were seen.
        """
        pairs = [(label, self._base) for label in different if label in self._answers]
        return [
            scene_figure(
                scene,
                {label: found[i] for label, found in self._answers.items()},
                base=self._base,
                differences=pairs,
            )
            for i, scene in enumerate(self._scenes)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """How far every model is from the base, scene by scene: no truth is needed.

        `depth_change` is the median relative change of depth, `pose_agreement` AUC@30 of the
        cameras with the base's as the truth.
        """
        return [
            {"scene": scene.name, "views": scene.num_views, "label": label}
            | _change(found[i], self._answers[self._base][i])
            for i, scene in enumerate(self._scenes)
            for label, found in self._answers.items()
            if label != self._base
        ]

    def words(self) -> list[str]:
        """The differences, each in a sentence."""
        return [self._words(**found) for found in self.differences()]

    def _words(
        self,
        scene: str,
        views: int,
        label: str,
        depth_change: float,
        pose_agreement: float | None = None,
    ) -> str:
        agree = (
            ""
            if pose_agreement is None
            else f" and its cameras agree to AUC@30 {pose_agreement:.3f}"
        )
        return (
            f"{scene}, {views} views: depth of the {label} differs from the {self._base}'s by "
            f"{depth_change:.2%} (median){agree}."
        )


def _change(answer: Answer, base: Answer) -> dict[str, float]:
    assert answer.world_to_camera is not None and base.world_to_camera is not None
    return against_another(answer.depth, answer.world_to_camera, base.depth, base.world_to_camera)


def scene_figure(
    scene: Scene,
    answers: Mapping[str, Answer],
    *,
    base: str,
    differences: Sequence[tuple[str, str]] = (),
) -> SceneFigure:
    """One scene with every model's depth, in the unit of the truth, or else of the base."""
    views = slice(0, SHOWN_VIEWS)
    depth = {label: found.depth.float() for label, found in answers.items()}
    unit = depth[base] if scene.depth is None else scene.depth
    known = unit > 0 if scene.valid is None else scene.valid & (unit > 0)
    shown: dict[str, np.ndarray] = {} if scene.depth is None else {TRUTH: unit[views].numpy()}
    for label, found in depth.items():
        shown[label] = (found[views] * float((unit[known] / found[known]).median())).numpy()
    pictures = rearrange(scene.images[views] * 255, "v c y x -> v y x c").round().byte().numpy()
    return SceneFigure(
        name=scene.name,
        images=np.ascontiguousarray(pictures),
        depth=shown,
        differences=differences,
    )
