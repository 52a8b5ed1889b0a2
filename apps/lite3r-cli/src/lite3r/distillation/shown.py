"""What the page of a run shows of a scene: photos, and the depth of each model."""

from collections.abc import Mapping

import numpy as np
from einops import rearrange

from lite3r.bench.quality import predict
from recon_backbones import Backbone
from recon_eval.data import Scene
from recon_eval.pages import SceneFigure

SHOWN_VIEWS = 4


def scene_figure(scene: Scene, models: Mapping[str, Backbone], truth_label: str) -> SceneFigure:
    """The first views of a scene with every model's depth, in the unit of the truth."""
    views = slice(0, SHOWN_VIEWS)
    depth = {}
    for label, model in models.items():
        found = predict(model, scene).depth[0].float()
        scale = 1.0
        if scene.depth is not None:
            valid = scene.valid if scene.valid is not None else scene.depth > 0
            scale = float((scene.depth[valid] / found[valid]).median())
        depth[label] = (found[views] * scale).numpy()
    pictures = rearrange(scene.images[views] * 255, "v c y x -> v y x c").round().byte().numpy()
    return SceneFigure(
        name=scene.name,
        images=np.ascontiguousarray(pictures),
        truth=None if scene.depth is None else scene.depth[views].numpy(),
        depth=depth,
        truth_label=truth_label,
    )
