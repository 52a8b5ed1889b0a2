"""Damaged COLMAP models, and what a model cannot hold, are refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.formats import (
    Camera,
    Observations,
    read_colmap,
    read_colmap_cameras,
    write_colmap,
)

from .colmap_cases import KINDS, cameras, cloud, observations, only, spaced

on_disk = settings.get_profile("on_disk")


def test_observations_of_what_is_not_there_are_refused(tmp_path: Path) -> None:
    for camera, point, rule in (
        (4, 0, r"camera: is 4 to 4; there are 4"),
        (-1, 0, "camera: is -1"),
        (0, 30, r"point: is 30 to 30; there are 30"),
    ):
        one = Observations(camera=np.array([camera]), point=np.array([point]), xy=np.zeros((1, 2)))
        with pytest.raises(ValueError, match=rf"observations\.{rule}"):
            write_colmap(tmp_path, cameras(), cloud(), one)
    assert not list(tmp_path.iterdir())
    silent = Camera(
        name="a", world_to_camera=cameras()[0].world_to_camera, intrinsics=cameras()[0].intrinsics
    )
    with pytest.raises(ValueError, match="size=None; a COLMAP model needs"):
        write_colmap(tmp_path, [silent], cloud())


def test_distorted_cameras_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 80 60 90 40 30 0.1\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n")
    with pytest.raises(ValueError, match=r"cameras\.txt: .*distorted.*image_undistorter"):
        read_colmap_cameras(tmp_path)
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 80 60 90 40 30 0\n")
    assert read_colmap_cameras(tmp_path)[0].intrinsics[1, 1] == 90
    (tmp_path / "cameras.txt").write_text("1 OPENCV_FISHEYE 80 60 90 90 40 30 0 0 0 0\n")
    with pytest.raises(ValueError, match="a camera is 'OPENCV_FISHEYE'"):
        read_colmap_cameras(tmp_path)


def test_a_name_listed_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 80 60 90 90 40 30\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n2 1 0 0 0 0 0 0 1 a.jpg\n\n")
    with pytest.raises(ValueError, match=r"images\.txt: the image 'a\.jpg' is listed twice"):
        read_colmap_cameras(tmp_path)


@given(data=st.binary(max_size=400))
@on_disk
def test_any_bytes_give_cameras_or_one_sentence(tmp_path: Path, data: bytes) -> None:
    for name in ("cameras.bin", "images.bin"):
        (tmp_path / name).write_bytes(b"\1" + 7 * b"\0" + data)
    with pytest.raises(ValueError, match=r"\.bin: "):
        read_colmap_cameras(tmp_path)


@given(
    place=st.floats(0, 1),
    content=st.binary(min_size=1, max_size=9),
    cut=st.booleans(),
    name=st.sampled_from(["cameras", "images", "points3D"]),
    kind=st.sampled_from(KINDS),
)
@on_disk
def test_damaged_models_are_read_or_refused(
    tmp_path: Path, place: float, content: bytes, cut: bool, name: str, kind: str
) -> None:
    write_colmap(tmp_path, cameras(), cloud(), observations())
    path = only(tmp_path, kind) / f"{name}.{kind}"
    raw = path.read_bytes()
    start = int(place * (len(raw) - 1))
    path.write_bytes(raw[:start] + content + (b"" if cut else raw[start + len(content) :]))
    try:
        assert read_colmap(tmp_path).cloud.points.shape[1] == 3
    except ValueError as error:
        assert str(tmp_path) in str(error)


@pytest.mark.parametrize("kinds", [(), ("ply",), ("bin", "ply")])
def test_other_kinds_are_refused(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="they must be of bin, txt"):
        write_colmap(tmp_path, cameras(), cloud(), kinds=kinds)


def test_text_alone_is_refused_where_it_would_cut_a_name(tmp_path: Path) -> None:
    given = [replace(camera, name=spaced(camera.name)) for camera in cameras()]
    with pytest.raises(ValueError, match=r"'schön und gut\.png' has a space"):
        write_colmap(tmp_path, given, cloud(), kinds=("txt",))
    assert not list(tmp_path.iterdir())
