"""Reconstructions to look at: read from their folders, brought to one unit, shown or written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from .errors import UserError
from .export import Model, PointCloud, PointOptions, View, gather_points, read_npz
from .export.frame import upright

ARCHIVE = "prediction.npz"
ACCENT = (226, 88, 34)


def read_models(folders: Sequence[Path], options: PointOptions) -> list[Model]:
    """Read reconstructions, each under its folder's name, all in the unit of the first.

    Raises ValueError when a folder holds no archive, or it is damaged.
    """
    models: list[Model] = []
    for folder in folders:
        views = read_npz(folder / ARCHIVE)
        if models:
            views = rescaled(views, unit_ratio(models[0].views, views))
        label = folder.absolute().name
        while label in (model.label for model in models):
            label += "'"
        models.append(Model(label=label, cloud=gather_points(views, options), views=views))
    return models


def unit_ratio(first: Sequence[View], other: Sequence[View]) -> float:
    """How long a unit of `other` is in units of `first`: the median ratio of their depths.

    Compared are the views of the same name, or all when no name is shared.
    """
    named = {view.name: view for view in other}
    pairs = [(view, named[view.name]) for view in first if view.name in named]
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


def open_viewer(models: Sequence[Model], *, host: str, port: int) -> Any:
    """Serve the scene with viser, and nothing else; returns its server, which runs already.

    Raises UserError when viser is not installed.
    """
    try:
        viser = import_module("viser")
    except ImportError as error:
        raise UserError(
            "the viewer needs viser: python -m pip install 'lite3r-cli[viewer]'; or write one "
            "file that needs nothing with --html scene.html"
        ) from error
    server = viser.ViserServer(host=host, port=port, label="lite3r", verbose=False)
    Viewer(server, models)
    return server


class Viewer:
    """The points and cameras of some reconstructions in a viser server, and its controls."""

    def __init__(self, server: Any, models: Sequence[Model]) -> None:
        self.server, self.models = server, {model.label: model for model in models}
        turn = upright(models[0].views)
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.scene.set_up_direction(turn[1])
        self._first_look(models[0], turn)
        self._controls()
        self._frusta: list[Any] = []
        self.show_model()

    def _first_look(self, model: Model, turn: Float[np.ndarray, "3 3"]) -> None:
        centre = np.median(model.cloud.xyz, axis=0)
        reach = float(np.percentile(np.linalg.norm(model.cloud.xyz - centre, axis=1), 90))
        self.server.initial_camera.look_at = centre
        self.server.initial_camera.position = centre + (turn[2] + 0.4 * turn[1]) * 2.2 * reach

    def _controls(self) -> None:
        gui, names = self.server.gui, list(self.models)
        self.model = gui.add_dropdown("reconstruction", names, visible=len(names) > 1)
        self.drop = gui.add_slider("drop least confident, %", 0, 95, 1, 0)
        self.size = gui.add_slider("point size", 0.3, 4.0, 0.1, 1.0)
        self.cameras = gui.add_checkbox("cameras", True)
        self.model.on_update(lambda _: self.show_model())
        self.drop.on_update(lambda _: self.show_points())
        self.size.on_update(lambda _: self._resize())
        self.cameras.on_update(lambda _: self._hide_or_show())

    @property
    def chosen(self) -> Model:
        """The reconstruction that is shown."""
        return self.models[self.model.value]

    def show_model(self) -> None:
        """Draw the chosen reconstruction anew."""
        for frustum in self._frusta:
            frustum.remove()
        self._frusta = [self._frustum(view) for view in self.chosen.views]
        self.show_points()

    def show_points(self) -> None:
        """Draw the points that are confident enough."""
        cloud = self.chosen.cloud
        cloud = cloud.take(confident(cloud, float(self.drop.value)))
        self.points = self.server.scene.add_point_cloud(
            "/points",
            cloud.xyz,
            cloud.rgb,
            point_size=self._width(),
            point_shape="circle",
            precision="float32",
        )

    def _width(self) -> float:
        view = self.chosen.views[0]
        return float(self.size.value * 1.2 * _middle([view]) / view.intrinsics[0, 0])

    def _resize(self) -> None:
        self.points.point_size = self._width()

    def _hide_or_show(self) -> None:
        for frustum in self._frusta:
            frustum.visible = self.cameras.value

    def _frustum(self, view: View) -> Any:
        from .export.colmap import quaternion_wxyz

        height, width = view.depth.shape
        pose = view.camera_to_world
        frustum = self.server.scene.add_camera_frustum(
            f"/cameras/{view.name}",
            fov=float(2 * np.arctan(height / 2 / view.intrinsics[1, 1])),
            aspect=width / height,
            scale=0.06 * _middle([self.chosen.views[0]]),
            color=ACCENT,
            image=view.image,
            wxyz=quaternion_wxyz(pose[:3, :3]),
            position=pose[:3, 3],
            visible=self.cameras.value,
        )
        frustum.on_click(self._stand(view))
        return frustum

    def _stand(self, view: View) -> Callable[[Any], None]:
        """What a click on a camera does: the client looks through it."""
        pose = view.camera_to_world

        def stand(event: Any) -> None:
            camera = event.client.camera
            camera.position = pose[:3, 3]
            camera.look_at = pose[:3, 3] + pose[:3, 2] * _middle([view])
            camera.up_direction = -pose[:3, 1]

        return stand


def confident(cloud: PointCloud, drop: float) -> Bool[np.ndarray, " p"]:
    """The points that stay when the least confident `drop` percent go."""
    return cloud.confidence >= np.percentile(cloud.confidence, drop)
