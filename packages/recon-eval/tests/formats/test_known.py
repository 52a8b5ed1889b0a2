"""Cameras are found whichever file or folder they are in, and what holds none is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon_eval.formats import (
    Camera,
    PointCloud,
    read_cameras,
    write_cam_txt,
    write_colmap,
    write_npz,
    write_transforms,
)

NAMES = ["links/a.jpg", "rechts/a.jpg", "schön und gut.png"]


def cameras() -> list[Camera]:
    return [
        Camera(
            name=name,
            world_to_camera=np.concatenate([turn, [[i], [0.5], [-2.0]]], axis=1),
            intrinsics=np.array([[90.0 + i, 0, 41.5], [0, 95.0, 30.5], [0, 0, 1]]),
            size=(80, 60),
        )
        for i, (name, turn) in enumerate(
            zip(NAMES, Rotation.random(3, random_state=0).as_matrix(), strict=True)
        )
    ]


def archive(path: Path, *, original: bool = True) -> None:
    lens = np.stack([camera.intrinsics for camera in cameras()])
    poses = np.stack([camera.world_to_camera for camera in cameras()])
    arrays = {
        "names": np.array(NAMES),
        "world_to_camera": poses,
        "intrinsics": np.diag([0.5, 0.5, 1]) @ lens,
    }
    if original:
        arrays |= {"original_intrinsics": lens, "original_size": np.array([(80, 60)] * 3)}
    write_npz(path, arrays)


def colmap(path: Path) -> None:
    write_colmap(path, cameras(), PointCloud(points=np.zeros((1, 3), np.float32)))


WRITERS: dict[str, Callable[[Path], None]] = {
    ".": colmap,
    "sparse": colmap,
    "sparse/0": colmap,
    "transforms.json": lambda path: write_transforms(path, cameras()),
}


@pytest.mark.parametrize("where", WRITERS)
def test_a_folder_is_searched(tmp_path: Path, where: str) -> None:
    WRITERS[where](tmp_path / where)
    source, found = read_cameras(tmp_path)
    assert source == tmp_path / where
    assert [camera.name for camera in found] == NAMES
    for camera, truth in zip(found, cameras(), strict=True):
        np.testing.assert_allclose(camera.world_to_camera, truth.world_to_camera, atol=1e-9)
        np.testing.assert_allclose(camera.intrinsics, truth.intrinsics)
        assert camera.size == truth.size


def test_archives_speak_of_the_photos_where_they_can(tmp_path: Path) -> None:
    archive(tmp_path / "a.npz")
    _, found = read_cameras(tmp_path / "a.npz")
    for camera, truth in zip(found, cameras(), strict=True):
        np.testing.assert_array_equal(camera.intrinsics, truth.intrinsics)
        assert camera.size == (80, 60)
    archive(tmp_path / "b.npz", original=False)
    _, found = read_cameras(tmp_path / "b.npz")
    assert found[0].size is None and found[0].intrinsics[0, 0] == 45


def test_transposed_matrices_of_an_archive_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as stored:
        arrays = dict(stored)
    whole = np.tile(np.eye(4), (3, 1, 1))
    whole[:, :3] = arrays["world_to_camera"]
    write_npz(tmp_path / "a.npz", arrays | {"world_to_camera": whole})
    np.testing.assert_array_equal(
        read_cameras(tmp_path / "a.npz")[1][1].world_to_camera, whole[1, :3]
    )
    write_npz(tmp_path / "a.npz", arrays | {"world_to_camera": whole.swapaxes(1, 2).copy()})
    with pytest.raises(ValueError, match=r"a\.npz: .*must be 0 0 0 1: .*not transposed"):
        read_cameras(tmp_path / "a.npz")


def test_mvsnet_cameras_count_pixels_from_their_centers(tmp_path: Path) -> None:
    (tmp_path / "00000003_cam.txt").write_text(
        "extrinsic\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n\nintrinsic\n90 0 40\n0 90 30\n0 0 1\n\n1 1"
    )
    write_cam_txt(tmp_path / "00000005_cam.txt", cameras()[1], depth_range=(1.0, 9.0))
    _, (first, second) = read_cameras(tmp_path)
    assert (first.name, second.name) == ("00000003", "00000005")
    np.testing.assert_allclose(first.intrinsics[:2, 2], [40.5, 30.5])
    np.testing.assert_allclose(second.world_to_camera, cameras()[1].world_to_camera)
    np.testing.assert_allclose(second.intrinsics, cameras()[1].intrinsics)


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("transforms.json", "{", "is no JSON"),
        ("transforms.json", '{"frames": []}', "holds no camera"),
        ("transforms.json", '{"frames": [{"file_path": "a"}]}', "transform_matrix"),
        ("cameras.npz", "no archive", "no file of NumPy arrays"),
        ("notes.md", "", "no cameras that are known"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, file: str, content: str, part: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=part):
        read_cameras(tmp_path / file)


def test_sizes_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    arrays = {
        "names": np.array(["a"]),
        "world_to_camera": np.eye(4)[None],
        "intrinsics": np.eye(3)[None],
    }
    for side in (np.inf, np.nan):
        write_npz(tmp_path / "a.npz", arrays | {"original_size": np.array([[side, 2]])})
        with pytest.raises(ValueError, match=r"a\.npz: cannot convert float"):
            read_cameras(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"names": np.array(["a"])},
        {"names": np.array(["a"]), "world_to_camera": np.eye(4)[None], "intrinsics": np.eye(3)},
        {"names": np.array("a"), "world_to_camera": np.eye(4)[None], "intrinsics": np.eye(3)[None]},
    ],
)
def test_archives_of_something_else_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    write_npz(tmp_path / "a.npz", arrays | {"more": np.zeros(1)})
    with pytest.raises(ValueError, match=r"a\.npz: has .* an archive of cameras has names"):
        read_cameras(tmp_path / "a.npz")
