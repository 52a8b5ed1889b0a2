"""Reconstructions to look at: read from their folders, brought to one unit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon_eval.reconstruction.archive import read_archive
from recon_eval.reconstruction.cloud import PointOptions, gather_points
from recon_eval.reconstruction.page import Model
from recon_eval.reconstruction.view import View

ARCHIVE = "prediction.npz"


def read_models(folders: Sequence[Path], options: PointOptions) -> list[Model]:
    """Read reconstructions, each under its folder's name, all in the unit of the first.

    Raises ValueError when a folder holds no archive, or it is damaged.
    """
    models: list[Model] = []
    for folder in folders:
        views = read_archive(folder / ARCHIVE)
        if models:
            views = rescaled(views, unit_ratio(models[0].views, views))
        label = folder.absolute().name
        while label in (model.label for model in models):
            label += "'"
        models.append(Model(label=label, cloud=gather_points(views, options), views=views))
    return models


def unit_ratio(first: Sequence[View], other: Sequence[View]) -> float:
    """How long a unit of `other` is in units of `first`: the median ratio of their depths.

    Compared are the views of the same name that have depth in both, or all where there is none.
    """
    named = {view.name: view for view in other if view.known.any()}
    pairs = [(v, named[v.name]) for v in first if v.name in named and v.known.any()]
    if not pairs:
        return _middle(first) / _middle(other)
    return float(np.median([_middle([a]) / _middle([b]) for a, b in pairs]))


def rescaled(views: Sequence[View], factor: float) -> list[View]:
    """The same views with every length multiplied."""
    stretch = np.array([1.0, 1.0, 1.0, factor])
    return [
        replace(view, depth=view.depth * factor, world_to_camera=view.world_to_camera * stretch)
        for view in views
    ]


def _middle(views: Sequence[View]) -> float:
    depths = np.concatenate([view.depth[view.known] for view in views])
    return float(np.median(depths)) if len(depths) else 1.0
