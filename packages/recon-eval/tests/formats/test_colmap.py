"""COLMAP models: what is written pycolmap reads, and what pycolmap writes is read, tracks too."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from recon_eval.formats import (
    Observations,
    PointCloud,
    quaternion_wxyz,
    read_colmap,
    read_colmap_cameras,
    write_colmap,
)
from recon_eval.formats.colmap import text

from .colmap_cases import KINDS, NAMES, as_set, cameras, cloud, observations, only, spaced

on_disk = settings.get_profile("on_disk")


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_numbers_of_small_types_are_counted_from_one_too(tmp_path: Path, kind: str) -> None:
    many = [replace(cameras()[0], name=f"{i}.jpg") for i in range(128)]
    ends = np.array([0, 127], np.int8)
    seen = Observations(camera=ends, point=ends, xy=np.ones((2, 2)))
    assert seen.behind(1).point.tolist() == [1, 128]
    write_colmap(tmp_path, many, cloud(129), seen, kinds=[kind])
    assert as_set(read_colmap(tmp_path).observations) == as_set(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_whole(tmp_path: Path, kind: str) -> None:
    write_colmap(tmp_path, cameras(), cloud(), observations())
    read = read_colmap(only(tmp_path, kind))
    for found, truth in zip(read.cameras, cameras(), strict=True):
        assert (found.name, found.size) == (truth.name, truth.size)
        np.testing.assert_allclose(found.world_to_camera, truth.world_to_camera, atol=1e-9)
        np.testing.assert_array_equal(found.intrinsics, truth.intrinsics)
    np.testing.assert_allclose(read.cloud.points, cloud().points, rtol=1e-7)
    np.testing.assert_array_equal(read.cloud.colors, cloud().colors)
    assert as_set(read.observations) == as_set(observations())


@pytest.mark.parametrize("kind", KINDS)
def test_pycolmap_reads_the_cameras_and_every_track(tmp_path: Path, kind: str) -> None:
    seen = observations()
    write_colmap(tmp_path, cameras(), cloud(), seen)
    model = pycolmap.Reconstruction(str(only(tmp_path, kind)))
    images = {image.image_id - 1: image for image in model.images.values()}
    for i, truth in enumerate(cameras()):
        assert images[i].name == truth.name
        pose = images[i].cam_from_world().matrix()
        np.testing.assert_allclose(pose, truth.world_to_camera, atol=1e-9)
        np.testing.assert_allclose(images[i].camera.calibration_matrix(), truth.intrinsics)
        assert (images[i].camera.width, images[i].camera.height) == truth.size
    found = {
        (e.image_id - 1, number - 1, *images[e.image_id - 1].points2D[e.point2D_idx].xy.round(6))
        for number, point in model.points3D.items()
        for e in point.track.elements
    }
    assert found == as_set(seen)
    for camera, image in images.items():  # and the images name the same points
        named = {p.point3D_id - 1 for p in image.points2D}
        assert named == set(seen.point[seen.camera == camera].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_equal_lenses_share_one_camera(tmp_path: Path, kind: str) -> None:
    lens, other = cameras()[0].intrinsics, cameras()[1].intrinsics
    of = [(lens, (80, 60)), (other, (80, 60)), (lens, (80, 60)), (lens, (60, 80))]
    given = [
        replace(camera, intrinsics=k.copy(), size=size)
        for camera, (k, size) in zip(cameras(), of, strict=True)
    ]
    write_colmap(tmp_path, given, cloud())
    model = pycolmap.Reconstruction(str(only(tmp_path, kind)))
    owned = [model.images[number].camera_id for number in (1, 2, 3, 4)]
    assert owned == [1, 2, 1, 3]
    assert len(model.cameras) == 3
    for number, one in enumerate(given, start=1):
        np.testing.assert_array_equal(
            model.images[number].camera.calibration_matrix(), one.intrinsics
        )
    assert [c.size for c in read_colmap_cameras(tmp_path)] == [size for _, size in of]


@pytest.mark.parametrize("kind", KINDS)
def test_what_pycolmap_writes_is_read(tmp_path: Path, kind: str) -> None:
    """Its images carry pixels of no point, and its numbers have gaps."""
    model = pycolmap.Reconstruction()
    for number, one in enumerate(cameras(), start=3):
        lens = one.intrinsics
        camera = pycolmap.Camera(
            camera_id=number, model="PINHOLE", width=one.size[0], height=one.size[1],
            params=[lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]],
        )  # fmt: skip
        model.add_camera_with_trivial_rig(camera)
        image = pycolmap.Image(name=spaced(one.name), camera_id=number, image_id=number)
        pixels = [pycolmap.Point2D(np.array([1.0 + i, 2.0 + number])) for i in range(number)]
        image.points2D = pycolmap.Point2DList(pixels)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(one.world_to_camera))
    track = pycolmap.Track([pycolmap.TrackElement(3, 0), pycolmap.TrackElement(5, 4)])
    model.add_point3D(np.array([1.0, 2, 3]), pycolmap.Track(), np.array([9, 8, 7], np.uint8))
    model.add_point3D(np.array([4.0, 5, 6]), track, np.array([1, 2, 3], np.uint8))
    (model.write_binary if kind == "bin" else model.write_text)(str(tmp_path))
    read = read_colmap(tmp_path)
    assert [camera.name for camera in read.cameras] == [spaced(name) for name in NAMES]
    order = read.cloud.points[:, 0].argsort()
    assert read.cloud.points[order].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read.cloud.colors is not None
    assert read.cloud.colors[order].tolist() == [[9, 8, 7], [1, 2, 3]]
    assert as_set(read.observations) == {
        (0, int(order[1]), 1.0, 5.0),
        (2, int(order[1]), 5.0, 7.0),
    }


@given(st.integers(1, 40), st.integers(0, 2**31 - 1))
@on_disk
def test_both_kinds_say_the_same(tmp_path: Path, count: int, seed: int) -> None:
    write_colmap(tmp_path / "b", cameras(), cloud(count), observations(count, seed=seed))
    write_colmap(tmp_path / "t", cameras(), cloud(count), observations(count, seed=seed))
    binary, text = (read_colmap(only(tmp_path / kind[0], kind)) for kind in KINDS)
    assert as_set(binary.observations) == as_set(text.observations)
    assert len(binary.cloud) == len(text.cloud) == count


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_origin_centers_and_points_stay(tmp_path: Path, kind: str) -> None:
    """Of cameras whose rotations are such to seven digits only, as well."""
    shift = np.array([450000.123, 5500000.45, 3])
    given = []
    for one in cameras():
        rotation = one.world_to_camera[:, :3].astype(np.float32).astype(np.float64)
        center = one.camera_to_world[:3, 3] + shift
        pose = np.concatenate([rotation, -rotation @ center[:, None]], axis=1)
        given.append(replace(one, world_to_camera=pose))
    points = cloud().points.astype(np.float64) + shift
    write_colmap(tmp_path, given, PointCloud(points=points), kinds=(kind,))
    model = pycolmap.Reconstruction(str(tmp_path))
    read = read_colmap(tmp_path)
    np.testing.assert_array_equal(read.cloud.points, points)
    for i, (one, found) in enumerate(zip(cameras(), read.cameras, strict=True)):
        there = (model.images[i + 1].projection_center(), found.camera_to_world[:3, 3])
        for center in there:
            np.testing.assert_allclose(center - shift, one.camera_to_world[:3, 3], atol=1e-6)


def test_a_name_with_a_space_is_written_where_no_reader_cuts_it(tmp_path: Path) -> None:
    write_colmap(tmp_path, cameras(), cloud())
    apart = [replace(camera, name=spaced(camera.name)) for camera in cameras()]
    write_colmap(tmp_path, apart, cloud(), observations())
    assert {path.name for path in tmp_path.iterdir()} == {
        "cameras.bin", "images.bin", "points3D.bin",
    }  # fmt: skip
    model = pycolmap.Reconstruction(str(tmp_path))
    assert {image.name for image in model.images.values()} == {c.name for c in apart}


def test_records_are_woven_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colmap(tmp_path / "whole", cameras(), cloud(), observations())
    monkeypatch.setattr("recon_eval.formats.colmap.binary.CHUNK", 7)
    write_colmap(tmp_path / "pieces", cameras(), cloud(), observations())
    whole, pieces = ((tmp_path / n / "points3D.bin").read_bytes() for n in ("whole", "pieces"))
    assert whole == pieces


def test_a_model_without_observations_or_colors_is_one(tmp_path: Path) -> None:
    write_colmap(tmp_path, cameras(), PointCloud(points=np.ones((2, 3), np.float32)))
    assert pycolmap.Reconstruction(str(tmp_path)).num_points3D() == 2
    read = read_colmap(tmp_path)
    assert len(read.observations) == 0
    assert read.cloud.colors is not None and not read.cloud.colors.any()


def test_points_of_text_are_read_in_little_more_memory_than_they_take(tmp_path: Path) -> None:
    write_colmap(tmp_path, cameras(), cloud(20_000), kinds=("txt",))
    path = tmp_path / "points3D.txt"
    tracemalloc.start()
    _, read = text.read_points(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(read.points.astype(np.float32), cloud(20_000).points)
    assert peak < 3 * path.stat().st_size
    path.write_text("1 0 0 0 1 2\n2 0 0 0 1 2 3 4\n")
    with pytest.raises(ValueError, match=r"points3D\.txt: a point has 6 numbers; it has 7"):
        read_colmap(tmp_path)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1e-3, 1.0, np.pi]))
def test_quaternions_rotate_as_their_matrix(seed: int, angle: float) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    quaternion = quaternion_wxyz(rotation)
    assert quaternion[0] >= 0
    back = Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(back, rotation, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_is_written_where_one_is_asked_for(tmp_path: Path, kind: str) -> None:
    write_colmap(tmp_path, cameras(), cloud(), observations(), kinds=(kind,))
    assert {file.suffix for file in tmp_path.iterdir()} == {f".{kind}"}
    assert as_set(read_colmap(tmp_path).observations) == as_set(observations())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_an_earlier_model_is_left_beside_a_new_one(tmp_path: Path, kind: str) -> None:
    for earlier in KINDS:
        write_colmap(tmp_path, cameras(), cloud(), kinds=(earlier,))
        model = pycolmap.Reconstruction(str(tmp_path))
        (model.write_binary if earlier == "bin" else model.write_text)(str(tmp_path))
        assert {file.stem for file in tmp_path.iterdir()} >= {"rigs", "frames"}
    (tmp_path / "notes.txt").write_text("not of the model")
    moved = [replace(one, name=f"new_{one.name}") for one in cameras()]
    write_colmap(tmp_path, moved, cloud(), kinds=(kind,))
    assert {file.name for file in tmp_path.iterdir()} == {
        "notes.txt", *(f"{stem}.{kind}" for stem in ("cameras", "images", "points3D")),
    }  # fmt: skip
    names = {camera.name for camera in moved}
    assert {image.name for image in pycolmap.Reconstruction(str(tmp_path)).images.values()} == names
    assert {camera.name for camera in read_colmap_cameras(tmp_path)} == names


def test_text_that_begins_with_a_mark_is_read(tmp_path: Path) -> None:
    write_colmap(tmp_path, cameras(), cloud(), observations(), kinds=("txt",))
    before = read_colmap(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as editors on Windows save it
    after = read_colmap(tmp_path)
    assert [camera.name for camera in after.cameras] == [camera.name for camera in before.cameras]
    np.testing.assert_array_equal(after.cloud.points, before.cloud.points)


def test_comments_that_are_indented_are_none_of_the_model(tmp_path: Path) -> None:
    write_colmap(tmp_path, cameras(), cloud(), observations(), kinds=("txt",))
    before = read_colmap(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b" \t# by hand\r\n" + path.read_bytes())
    after = read_colmap(tmp_path)
    assert [camera.name for camera in after.cameras] == [camera.name for camera in before.cameras]
    np.testing.assert_array_equal(after.cloud.points, before.cloud.points)
