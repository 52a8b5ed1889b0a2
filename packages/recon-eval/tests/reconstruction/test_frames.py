"""Every format that holds cameras puts its points where the photos show them, within 1 pixel."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import trimesh

from recon_eval.formats import PointCloud
from recon_eval.reconstruction import (
    WRITERS,
    PointOptions,
    Reconstruction,
    View,
    gather_points,
    read_archive,
)

Read = tuple[np.ndarray, list[np.ndarray]]  # points, and for each view a matrix to pixels
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def read_colmap(out: Path, views: list[View]) -> Read:
    model = pycolmap.Reconstruction(str(out / "sparse/0"))
    xyz = np.stack([model.points3D[i].xyz for i in sorted(model.points3D)])
    images = {image.name: image for image in model.images.values()}
    found = (images[view.name] for view in views)
    return xyz, [i.camera.calibration_matrix() @ i.cam_from_world().matrix() for i in found]


def read_transforms(out: Path, views: list[View]) -> Read:
    """As nerfstudio does: cameras look along -z, and the points lie in the same world."""
    document = json.loads((out / "transforms.json").read_text())
    xyz = np.asarray(trimesh.load(out / document["ply_file_path"]).vertices)
    matrices = []
    for frame in document["frames"]:
        camera = pinhole(frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"])
        matrices.append(camera @ np.linalg.inv(frame["transform_matrix"] @ FLIP)[:3])
    return xyz, matrices


def read_glb(out: Path, views: list[View]) -> Read:
    """As glTF says: a perspective camera in the middle of its photo, looking along -z."""
    scene = trimesh.load(out / "scene.glb")
    (points,) = (g for g in scene.geometry.values() if isinstance(g, trimesh.PointCloud))
    data = (out / "scene.glb").read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    matrices = []
    for view, camera in zip(views, document["cameras"], strict=True):
        width, height = view.original_size
        focal = height / 2 / np.tan(camera["perspective"]["yfov"] / 2)
        lens = pinhole(focal, focal, width / 2, height / 2)
        pose = scene.graph.get(view.name)[0]
        matrices.append(lens @ FLIP[:3, :3] @ np.linalg.inv(pose)[:3])
    vertices = trimesh.transform_points(points.vertices, scene.graph.get("points")[0])
    return vertices, matrices


def read_arrays(out: Path, views: list[View]) -> Read:
    read = read_archive(out / "prediction.npz")
    xyz = np.asarray(trimesh.load(out / "points.ply").vertices)
    return xyz, [v.original_intrinsics @ v.world_to_camera for v in read]


def read_page(out: Path, views: list[View]) -> Read:
    """As the page's shaders do: fractions of a box, corners of each photo at depth 1."""
    page = (out / "scene.html").read_text()
    blocks = dict(re.findall(r'<script type="[\w/]+" id="([\w-]+)">(.*?)</script>', page, re.S))
    (model,) = json.loads(blocks["scene"])["models"]
    places = np.frombuffer(base64.b64decode(blocks["places-0"]), "<u2").reshape(-1, 3)
    xyz = np.array(model["low"]) + places / 65535 * np.array(model["extent"])
    matrices = []
    for view, camera in zip(views, model["cameras"], strict=True):
        width, height = view.original_size
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]])
        to_rays = np.linalg.lstsq(corners, np.array(camera["corners"]), rcond=None)[0].T
        to_pixels = np.linalg.inv(to_rays)
        matrices.append(np.column_stack([to_pixels, -to_pixels @ camera["center"]]))
    return xyz, matrices


READERS: dict[str, Callable[[Path, list[View]], Read]] = {
    "colmap": read_colmap,
    "transforms": read_transforms,
    "glb": read_glb,
    "npz": read_arrays,
    "html": read_page,
}


FAR = np.array([450000.123, -300.7, 5500000.45])  # as maps count


def far_off(view: View) -> View:
    """The view where the world lies far from its origin."""
    pose = view.world_to_camera.copy()
    pose[:, 3] -= pose[:, :3] @ FAR
    return replace(view, world_to_camera=pose)


@pytest.fixture(scope="module")
def far_written(written: Path, views: list[View]) -> tuple[Path, PointCloud, list[View]]:
    """The same scene far from the origin; its photos lie where they did."""
    moved = [far_off(view) for view in views]
    cloud = gather_points(moved, PointOptions(confidence_percentile=0.0))
    made = Reconstruction(title="far", cloud=cloud, views=moved, photos=Path("../photos"))
    folder = written.parent / "far"
    for form in ("colmap", "transforms", "glb", "npz", "html"):
        WRITERS[form](folder, made)
    return folder, cloud, moved


def test_points_far_off_are_those_near_the_origin(
    far_written: tuple[Path, PointCloud, list[View]], cloud: PointCloud
) -> None:
    assert far_written[1].points.dtype == np.float64 and cloud.points.dtype == np.float32
    np.testing.assert_allclose(far_written[1].points - FAR, cloud.points, atol=1e-6)


@pytest.mark.parametrize("name", READERS)
def test_points_appear_where_the_photos_show_them_far_from_the_origin_too(
    far_written: tuple[Path, PointCloud, list[View]], name: str
) -> None:
    written, cloud, views = far_written
    test_points_appear_where_the_photos_show_them(written, cloud, views, name)


@pytest.mark.parametrize("name", READERS)
def test_points_appear_where_the_photos_show_them(
    written: Path, cloud: PointCloud, views: list[View], name: str
) -> None:
    xyz, matrices = READERS[name](written, views)
    assert len(xyz) == len(cloud)
    whole = np.column_stack([cloud.points.astype(float), np.ones(len(cloud))])
    for view, matrix in zip(views, matrices, strict=True):
        exact = whole @ (view.original_intrinsics @ view.world_to_camera).T
        read = np.column_stack([xyz, np.ones(len(xyz))]) @ matrix.T
        ahead = exact[:, 2] > 0.2  # meters
        assert ahead.mean() > 0.5
        pixels, expected = (p[ahead, :2] / p[ahead, 2:] for p in (read, exact))
        assert np.abs(pixels - expected).max() < 1
        assert (read[ahead, 2] > 0).all()
