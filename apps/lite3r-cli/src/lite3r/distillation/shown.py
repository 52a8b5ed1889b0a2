"""What the page of a run shows: photos, each model's depth before and after, what differs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from lite3r.bench.quality import changes, predict
from lite3r.bench.scenes import photo_sets
from lite3r.distillation.rows import DEPLOYED, TEACHER, UNTRAINED
from recon_backbones import Backbone, Prediction
from recon_eval.data import Scene
from recon_eval.pages import SceneFigure

SHOWN_VIEWS = 4
TRUTH = "true depth"


def photo_scenes(folders: Sequence[Path], backbone: Backbone, *, size: int, views: int) -> Any:
    """One scene for each folder of photos: so many of them, spread over the folder.

    Raises ValueError for a folder without two photos.
    """
    return [photo_sets(folder, backbone, size=size, views=views)[0] for folder in folders]


class Gallery:
    """Scenes, and what one model after another answers to them; a model may change afterwards."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = tuple(scenes)
        self._answers: dict[str, list[Prediction]] = {}

    def look(self, label: str, model: Backbone) -> None:
        """Keep what a model answers now."""
        self._answers[label] = [predict(model, scene) for scene in self._scenes]

    def figures(self) -> list[SceneFigure]:
        """The first views of every scene, each model's depth, and differences from the teacher."""
        return [
            scene_figure(scene, {label: found[i] for label, found in self._answers.items()})
            for i, scene in enumerate(self._scenes)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """How far every model is from the teacher, scene by scene: no truth is needed.

        `depth_change` is the median relative change of depth, `pose_agreement` AUC@30 of the
        cameras with the teacher's as the truth.
        """
        return [
            {"scene": scene.name, "views": scene.num_views, "label": label}
            | changes(found[i], self._answers[TEACHER][i])
            for i, scene in enumerate(self._scenes)
            for label, found in self._answers.items()
            if label != TEACHER
        ]


def scene_figure(scene: Scene, answers: Mapping[str, Prediction]) -> SceneFigure:
    """One scene with every model's depth, in the unit of the truth, or else of the teacher."""
    views = slice(0, SHOWN_VIEWS)
    depth = {label: found.depth[0].float() for label, found in answers.items()}
    base = depth[TEACHER] if scene.depth is None else scene.depth
    known = base > 0 if scene.valid is None else scene.valid & (base > 0)
    shown: dict[str, np.ndarray] = {} if scene.depth is None else {TRUTH: base[views].numpy()}
    for label, found in depth.items():
        shown[label] = (found[views] * float((base[known] / found[known]).median())).numpy()
    pictures = rearrange(scene.images[views] * 255, "v c y x -> v y x c").round().byte().numpy()
    return SceneFigure(
        name=scene.name,
        images=np.ascontiguousarray(pictures),
        depth=shown,
        differences=[(label, TEACHER) for label in (UNTRAINED, DEPLOYED) if label in shown],
    )
