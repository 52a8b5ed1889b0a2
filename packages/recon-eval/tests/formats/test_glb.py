"""glTF: what is written is read by trimesh, what trimesh writes is read, damage is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.formats import Camera, PointCloud, glb, read_glb, write_glb
from recon_eval.formats.glb import linear_of, srgb_of

on_disk = settings.get_profile("on_disk")
FLIP = np.array([1, -1, -1])


def cloud(count: int = 100) -> PointCloud:
    rng = np.random.default_rng(0)
    return PointCloud(
        points=rng.normal(size=(count, 3)).astype(np.float32),
        colors=rng.integers(0, 256, (count, 3), dtype=np.uint8),
    )


def camera(name: str, place: float) -> Camera:
    angle = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return Camera(
        name=name,
        world_to_camera=np.concatenate([angle, [[place], [0.5], [-2.0]]], axis=1),
        intrinsics=np.array([[90.0, 0, 40], [0, 95.0, 30], [0, 0, 1]]),
        size=(80, 60),
    )


def document(path: Path) -> tuple[dict[str, list[dict[str, object]]], bytes]:
    raw = path.read_bytes()
    end = 20 + int.from_bytes(raw[12:16], "little")
    return json.loads(raw[20:end]), raw[end + 8 :]


def test_positions_and_colors_come_back(tmp_path: Path) -> None:
    whole = cloud()
    write_glb(tmp_path / "a.glb", whole, [camera("a.jpg", 1), camera("b.jpg", 2)])
    read = read_glb(tmp_path / "a.glb")  # the frustums, which are lines, left out
    np.testing.assert_array_equal(read.points, whole.points)
    np.testing.assert_array_equal(read.colors, whole.colors)
    write_glb(tmp_path / "b.glb", PointCloud(points=whole.points))
    assert read_glb(tmp_path / "b.glb").colors is None


def test_points_far_from_the_origin_keep_their_places(tmp_path: Path) -> None:
    points = cloud().points.astype(np.float64) + np.array([450000.123, 5500000.45, 3])
    write_glb(tmp_path / "a.glb", PointCloud(points=points), [camera("a.jpg", 1)])
    np.testing.assert_allclose(read_glb(tmp_path / "a.glb").points, points, rtol=0, atol=1e-6)
    scene = trimesh.load(tmp_path / "a.glb")
    (stored,) = (g for g in scene.geometry.values() if isinstance(g, trimesh.PointCloud))
    there = trimesh.transform_points(stored.vertices, scene.graph.get("points")[0])
    np.testing.assert_allclose(there * FLIP, points, rtol=0, atol=1e-6)


def test_colors_are_linear_light_as_gltf_wants_and_not_display_bytes(tmp_path: Path) -> None:
    whole = cloud()
    assert whole.colors is not None
    write_glb(tmp_path / "a.glb", whole)
    scene, binary = document(tmp_path / "a.glb")
    accessor = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]  # type: ignore[index]
    assert (accessor["componentType"], accessor["normalized"]) == (5123, True)
    start = scene["bufferViews"][accessor["bufferView"]]["byteOffset"]  # type: ignore[index]
    stored = np.frombuffer(binary, "<u2", 400, start).reshape(100, 4) / 65535  # type: ignore[arg-type]
    display = whole.colors / 255
    light = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(stored[:, :3], light, atol=1e-5)
    assert abs(stored[:, :3] - display).mean() > 0.05
    assert (stored[:, 3] == 1).all()


def test_no_two_display_bytes_become_one() -> None:
    every = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    np.testing.assert_array_equal(srgb_of(linear_of(every) / 65535), every)


def test_trimesh_reads_points_and_a_frustum_at_every_camera(tmp_path: Path) -> None:
    cameras = [camera("a.jpg", 1), camera("b c.jpg", 2)]
    write_glb(tmp_path / "a.glb", cloud(), cameras)
    scene = trimesh.load(tmp_path / "a.glb")
    (points,) = (g for g in scene.geometry.values() if isinstance(g, trimesh.PointCloud))
    np.testing.assert_allclose(points.vertices * FLIP, cloud().points, atol=1e-6)
    for one in cameras:
        center = scene.graph.get(one.name)[0][:3, 3] * FLIP
        np.testing.assert_allclose(center, one.camera_to_world[:3, 3], atol=1e-6)


def test_cameras_see_what_they_saw(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", cloud(), [camera("a.jpg", 1)])
    (one,) = document(tmp_path / "a.glb")[0]["cameras"]
    lens = one["perspective"]
    assert 60 / 2 / np.tan(lens["yfov"] / 2) == pytest.approx(95)  # type: ignore[index]
    wide = lens["aspectRatio"] * np.tan(lens["yfov"] / 2)  # type: ignore[index]
    assert 80 / 2 / wide == pytest.approx(90)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_cameras_see_the_scene_in_any_unit(tmp_path: Path, unit: float) -> None:
    points = unit * cloud().points
    write_glb(tmp_path / "a.glb", PointCloud(points=points), [camera("a.jpg", unit)])
    (one,) = document(tmp_path / "a.glb")[0]["cameras"]
    assert 0 < one["perspective"]["znear"] < 0.01 * unit  # type: ignore[index]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_point_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    points = cloud().points
    points[3, 1] = value
    with pytest.raises(ValueError, match=r"a\.glb: 1 of 100 points hold NaN or infinity; "):
        write_glb(tmp_path / "a.glb", PointCloud(points=points))
    assert not list(tmp_path.iterdir())


def test_what_trimesh_writes_is_read(tmp_path: Path) -> None:
    points = cloud().points
    (tmp_path / "a.glb").write_bytes(
        trimesh.Scene(trimesh.PointCloud(points)).export(file_type="glb")
    )
    np.testing.assert_array_equal(read_glb(tmp_path / "a.glb").points * FLIP, points)
    box = trimesh.creation.icosphere(1)
    (tmp_path / "b.glb").write_bytes(trimesh.Scene(box).export(file_type="glb"))
    assert len(read_glb(tmp_path / "b.glb")) == len(box.vertices)


@pytest.mark.parametrize("part", ["views", "accessors"])
def test_positions_that_are_not_in_the_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    add = glb._Buffer.add

    def changed(self: glb._Buffer, array: np.ndarray, **accessor: object) -> int:
        number = add(self, array, **accessor)
        getattr(self, part)[number] |= {"buffer": 1, "sparse": {"count": 1}}
        return number

    monkeypatch.setattr(glb._Buffer, "add", changed)
    write_glb(tmp_path / "a.glb", cloud())
    with pytest.raises(ValueError, match=r"a\.glb: .* sparse or of another file"):
        read_glb(tmp_path / "a.glb")


def test_an_empty_cloud_and_a_camera_without_a_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.glb: the point cloud is empty"):
        write_glb(tmp_path / "a.glb", PointCloud(points=np.zeros((0, 3), np.float32)))
    one = camera("a.jpg", 1)
    silent = Camera(name="a.jpg", world_to_camera=one.world_to_camera, intrinsics=one.intrinsics)
    with pytest.raises(ValueError, match="size=None; a glTF camera needs"):
        write_glb(tmp_path / "a.glb", cloud(), [silent])
    assert not list(tmp_path.iterdir())


@given(position=st.integers(0, 6000), content=st.binary(min_size=1, max_size=8), cut=st.booleans())
@on_disk
def test_a_damaged_file_is_read_or_refused(
    tmp_path: Path, position: int, content: bytes, cut: bool
) -> None:
    path = tmp_path / "a.glb"
    write_glb(path, cloud(50), [camera("a.jpg", 1)])
    raw = path.read_bytes()
    position %= len(raw)
    rest = b"" if cut else raw[position + len(content) :]
    path.write_bytes(raw[:position] + content + rest)
    try:
        assert read_glb(path).points.shape[1] == 3
    except ValueError as error:
        assert str(path) in str(error)


def test_points_of_16_bits_come_back_to_the_last_bit(tmp_path: Path) -> None:
    points = (np.random.default_rng(0).normal(size=(99, 3)) + 4).astype(np.float16)
    write_glb(tmp_path / "a.glb", PointCloud(points=points))
    np.testing.assert_array_equal(read_glb(tmp_path / "a.glb").points, points)
