"""Exports are read back by the programs they are made for, and agree with exact scenes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

from recon_eval import formats
from recon_eval.formats import PointCloud
from recon_eval.reconstruction import (
    WRITERS,
    PointOptions,
    Reconstruction,
    Tracked,
    View,
    gather_points,
    read_archive,
    write_archive,
    write_depth_maps,
)
from recon_eval.reconstruction.depth_maps import file_names

NAMES = ["a.jpg", "schöne Fotos/b c.png", "b.JPG"]  # as conftest names them


def test_trimesh_reads_the_ply(written: Path, cloud: PointCloud) -> None:
    mesh = trimesh.load(written / "points.ply")
    assert isinstance(mesh, trimesh.PointCloud)
    np.testing.assert_array_equal(np.asarray(mesh.vertices, dtype=np.float32), cloud.points)
    np.testing.assert_array_equal(np.asarray(mesh.colors)[:, :3], cloud.colors)


def test_trimesh_reads_the_glb_with_a_frustum_at_every_camera(
    written: Path, cloud: PointCloud, views: list[View]
) -> None:
    scene = trimesh.load(written / "scene.glb")
    assert isinstance(scene, trimesh.Scene)
    graph, names = scene.graph, {view.name for view in views}
    assert names <= set(graph.nodes)
    (points,) = (g for g in scene.geometry.values() if isinstance(g, trimesh.PointCloud))
    flip = np.array([1, -1, -1])
    np.testing.assert_allclose(points.vertices * flip, cloud.points, atol=1e-5)
    for view in views:
        center = graph.get(view.name)[0][:3, 3] * flip
        np.testing.assert_allclose(center, view.camera_to_world[:3, 3], atol=1e-5)


def test_glb_cameras_see_what_the_views_saw(written: Path, views: list[View]) -> None:
    data = (written / "scene.glb").read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    for view, camera in zip(views, document["cameras"], strict=True):
        lens = camera["perspective"]
        fy = 42 / 2 / np.tan(lens["yfov"] / 2)
        assert fy == pytest.approx(view.intrinsics[1, 1])
        fx = 56 / 2 / np.tan(lens["yfov"] / 2) / lens["aspectRatio"]
        assert fx == pytest.approx(view.intrinsics[0, 0])


def beside_photos(views: list[View], cloud: PointCloud, parent: Path) -> Reconstruction:
    """A reconstruction whose photos, twice the size of its views, lie in `parent`."""
    for view in views:
        photo = parent / "photos" / view.name
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image).resize((112, 84)).save(photo)
    return Reconstruction(title="a room", cloud=cloud, views=views, photos=Path("../photos"))


def without_spaces(views: list[View]) -> list[View]:
    """The views under names that a COLMAP text file can hold."""
    return [replace(view, name=view.name.replace(" ", "_")) for view in views]


@pytest.fixture(params=["bin", "txt"])
def model(
    request: pytest.FixtureRequest, views: list[View], cloud: PointCloud, tmp_path: Path
) -> pycolmap.Reconstruction:
    """One of the two kinds of files, which is written alone; text holds no spaces."""
    kind = request.param
    if kind == "txt":
        views = without_spaces(views)
    made = beside_photos(views, cloud, tmp_path)
    WRITERS[{"bin": "colmap", "txt": "colmap_text"}[kind]](tmp_path / "out", made)
    written = tmp_path / "out/sparse/0"
    assert {p.suffix for p in written.iterdir()} == {f".{kind}"}
    return pycolmap.Reconstruction(str(written))


def test_pycolmap_reads_the_model(
    model: pycolmap.Reconstruction, views: list[View], cloud: PointCloud
) -> None:
    assert model.num_points3D() == len(cloud)
    images = {image.name.replace(" ", "_"): image for image in model.images.values()}
    for view in views:
        name = view.name.replace(" ", "_")
        pose = images[name].cam_from_world()
        np.testing.assert_allclose(pose.matrix(), view.world_to_camera, atol=1e-6)
        camera = images[name].camera
        assert (camera.width, camera.height) == (112, 84)
        np.testing.assert_allclose(camera.calibration_matrix(), view.original_intrinsics)
        first = cloud.points[0].astype(float)
        x, y, z = view.original_intrinsics @ view.world_to_camera @ [*first, 1]
        expected = [x / z, y / z]
        seen = pose * first
        np.testing.assert_allclose(camera.img_from_cam(seen), expected, atol=1e-3)


def test_points_carry_tracks_so_that_views_find_partners(model: pycolmap.Reconstruction) -> None:
    lengths = np.array([point.track.length() for point in model.points3D.values()])
    assert lengths.min() >= 1 and lengths.mean() > 1.3  # the view it was made from, and others
    pairs = {tuple(sorted({e.image_id for e in p.track.elements})) for p in model.points3D.values()}
    assert any(len(pair) > 1 for pair in pairs)
    checked = 0
    for number, point in list(model.points3D.items())[::50]:
        for element in point.track.elements:
            image = model.images[element.image_id]
            pixel = image.points2D[element.point2D_idx]
            assert pixel.point3D_id == number
            landed = image.camera.img_from_cam(image.cam_from_world() * point.xyz)
            np.testing.assert_allclose(pixel.xy, landed, atol=1e-3)
            checked += 1
    assert checked > 20


def test_glb_colors_are_linear_light(written: Path, cloud: PointCloud) -> None:
    read = formats.read_glb(written / "scene.glb")
    np.testing.assert_array_equal(read.colors, cloud.colors)
    data = (written / "scene.glb").read_bytes()
    head = 20 + int.from_bytes(data[12:16], "little")
    document = json.loads(data[20:head])
    colors = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = head + 8 + document["bufferViews"][colors["bufferView"]]["byteOffset"]
    stored = np.frombuffer(data, "<u2", 4 * len(cloud), start).reshape(-1, 4)[:, :3] / 65535
    display = cloud.colors / 255
    light = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(stored, light, atol=1e-4)


def test_a_preview_never_overwrites_the_depth_of_another_photo(views: list[View]) -> None:
    for names in (["a_preview.jpg", "a.jpg"], ["a.jpg", "a_preview.jpg", "a.png"]):
        named = [replace(views[0], name=name) for name in names]
        found = file_names(named)
        assert len({*found, *(f"{name}_preview" for name in found)}) == 2 * len(names)


def test_transforms_json_follows_nerfstudio(written: Path, views: list[View]) -> None:
    document = json.loads((written / "transforms.json").read_text())
    for view, frame in zip(views, document["frames"], strict=True):
        assert Image.open(written / frame["file_path"]).size == (112, 84)
        pose = np.array(frame["transform_matrix"])
        ahead = pose[:3, :3] @ [0, 0, -1]  # an OpenGL camera looks along -z
        np.testing.assert_allclose(ahead, view.world_to_camera[2, :3], atol=1e-6)
        assert np.linalg.det(pose) == pytest.approx(1)
        assert (frame["w"], frame["h"]) == (112, 84)
        assert frame["fl_x"] == view.original_intrinsics[0, 0]


def test_depth_images_hold_the_depth(written: Path, views: list[View]) -> None:
    scale = json.loads((written / "depth/scale.json").read_text())["depth_per_value"]
    for name, view in zip(["a", "schöne Fotos_b c", "b"], views, strict=True):
        values = np.asarray(Image.open(written / f"depth/{name}.png"))
        assert values.dtype == np.uint16
        np.testing.assert_allclose(values * scale, view.depth, atol=scale)
        assert Image.open(written / f"depth/{name}_preview.png").mode == "RGB"
        exact = np.asarray(Image.open(written / f"depth/{name}.tiff"))
        np.testing.assert_array_equal(exact, view.depth)


def test_npz_holds_everything(written: Path, views: list[View]) -> None:
    with np.load(written / "prediction.npz") as data:
        assert list(data["names"]) == NAMES
        np.testing.assert_array_equal(data["depth"], [view.depth for view in views])
        np.testing.assert_array_equal(data["world_to_camera"][1], views[1].world_to_camera)
    for read, view in zip(read_archive(written / "prediction.npz"), views, strict=True):
        assert (read.name, read.original_size) == (view.name, view.original_size)
        for field in ("image", "depth", "confidence", "intrinsics", "original_intrinsics", "known"):
            np.testing.assert_array_equal(getattr(read, field), getattr(view, field))


def test_masked_pixels_become_neither_points_nor_depth(views: list[View], tmp_path: Path) -> None:
    keep = np.zeros((42, 56), dtype=bool)
    keep[:, :7] = True
    masked = [View(**vars(view) | {"keep": keep}) for view in views]
    write_archive(tmp_path / "p.npz", masked)
    read = read_archive(tmp_path / "p.npz")
    cloud = gather_points(read, PointOptions(confidence_percentile=0.0, edge_tolerance=100.0))
    assert len(cloud) == sum((view.known & keep).sum() for view in views)
    write_depth_maps(tmp_path, masked)
    assert not np.asarray(Image.open(tmp_path / "a.png"))[:, 7:].any()


@pytest.mark.parametrize("damage", ["missing", "text", "half", "objects", "other shapes", "types"])
def test_a_bad_archive_is_refused_by_name(written: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "prediction.npz"
    whole = (written / "prediction.npz").read_bytes()
    with np.load(written / "prediction.npz") as data:
        arrays = dict(data)
    if damage == "text":
        path.write_text("no archive")
    elif damage == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "objects":
        np.savez(path, **arrays | {"names": np.array([{}], dtype=object)})
    elif damage == "types":
        np.savez(path, **arrays | {"known": arrays["known"].astype(np.int8)})
    elif damage == "other shapes":
        np.savez(path, **arrays | {"depth": arrays["depth"][:, :-1]})
    with pytest.raises(ValueError, match=r"prediction\.npz"):
        read_archive(path)


def test_points_that_cameras_were_fitted_to_come_first_with_what_was_seen(
    views: list[View], cloud: PointCloud, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for view in views:
        (photos / view.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image).resize((112, 84)).save(photos / view.name)
    seen = formats.Observations(
        camera=np.array([0, 1, 1, 2]),
        point=np.array([0, 0, 1, 1]),
        xy=np.array([[1.25, 2], [3, 4.5], [5, 6], [7, 8.75]]),
    )
    exact = PointCloud(points=cloud.points[:2] + 0.5, colors=cloud.colors[:2])
    made = Reconstruction(
        title="a room",
        cloud=cloud,
        views=views,
        photos=Path("../photos"),
        tracked=Tracked(cloud=exact, observations=seen),
    )
    WRITERS["colmap"](tmp_path / "out", made)
    model = formats.read_colmap(tmp_path / "out/sparse/0")
    assert len(model.cloud) == 2 + len(cloud)
    np.testing.assert_allclose(model.cloud.points[:2], exact.points, atol=1e-6)
    first = model.observations.point < 2
    rows = zip(
        model.observations.camera[first],
        model.observations.point[first],
        model.observations.xy[first],
        strict=True,
    )
    found = {(int(camera), int(point)): tuple(xy) for camera, point, xy in rows}
    assert found == {(0, 0): (1.25, 2), (1, 0): (3, 4.5), (1, 1): (5, 6), (2, 1): (7, 8.75)}
    assert model.observations.point.max() == 1 + len(cloud)


def test_both_kinds_of_a_colmap_model_stand_side_by_side(
    views: list[View], cloud: PointCloud, tmp_path: Path
) -> None:
    made = beside_photos(without_spaces(views), cloud, tmp_path)
    for first, second in (("colmap", "colmap_text"), ("colmap_text", "colmap")):
        out = tmp_path / first
        for form in (first, second):
            WRITERS[form](out, made)
        suffixes = [path.suffix for path in (out / "sparse/0").iterdir()]
        assert sorted(suffixes) == [".bin"] * 3 + [".txt"] * 3
