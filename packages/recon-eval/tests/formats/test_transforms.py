"""transforms.json: what is written is read; nerfstudio's and Blender's conventions hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon_eval.formats import Camera, read_transforms, write_transforms

LENS = np.array([[90.0, 0, 41.5], [0, 95.0, 30.5], [0, 0, 1]])


def cameras() -> list[Camera]:
    turns = Rotation.random(3, random_state=0).as_matrix()
    return [
        Camera(
            name=f"images/schön {i}.jpg",
            world_to_camera=np.concatenate([turn, [[i], [0.5], [-2.0]]], axis=1),
            intrinsics=LENS,
            size=(80, 60),
        )
        for i, turn in enumerate(turns)
    ]


def test_cameras_come_back(tmp_path: Path) -> None:
    write_transforms(tmp_path / "transforms.json", cameras(), points="points.ply")
    read = read_transforms(tmp_path / "transforms.json")
    for found, truth in zip(read, cameras(), strict=True):
        assert (found.name, found.size) == (truth.name, truth.size)
        np.testing.assert_allclose(found.world_to_camera, truth.world_to_camera, atol=1e-12)
        np.testing.assert_array_equal(found.intrinsics, truth.intrinsics)
    document = json.loads((tmp_path / "transforms.json").read_text())
    assert document["ply_file_path"] == "points.ply"


def test_masks_are_named_by_frame_one_a_camera(tmp_path: Path) -> None:
    path, names = tmp_path / "transforms.json", [f"masks/{i}.png" for i in range(3)]
    write_transforms(path, cameras(), masks=names)
    frames = json.loads(path.read_text())["frames"]
    assert [frame["mask_path"] for frame in frames] == names
    with pytest.raises(ValueError, match="masks=2 names; it must be one a camera, and cameras are"):
        write_transforms(path, cameras(), masks=names[:2])


def test_an_opengl_camera_looks_along_minus_z(tmp_path: Path) -> None:
    write_transforms(tmp_path / "transforms.json", cameras())
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    for frame, truth in zip(frames, cameras(), strict=True):
        pose = np.array(frame["transform_matrix"])
        ahead = pose[:3, :3] @ [0, 0, -1]
        np.testing.assert_allclose(ahead, truth.world_to_camera[2, :3], atol=1e-12)
        assert np.linalg.det(pose) == pytest.approx(1)


def test_blender_states_an_angle(tmp_path: Path) -> None:
    frame = {"file_path": "./train/r_0", "transform_matrix": np.eye(4).tolist()}
    document = {"camera_angle_x": np.pi / 2, "w": 80, "h": 60, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    (camera,) = read_transforms(tmp_path / "transforms.json")
    np.testing.assert_allclose(camera.intrinsics, [[40, 0, 40], [0, 40, 30], [0, 0, 1]])
    np.testing.assert_allclose(camera.world_to_camera[:, :3], np.diag([1, -1, -1]))


@pytest.mark.parametrize(
    ("stated", "focal"),
    [
        ({"camera_angle_y": np.pi / 3}, 30 * 3**0.5),
        ({"camera_angle_y": np.pi / 3, "fl_y": 50}, 50),
        ({"fl_y": 50}, 50),
    ],
)
def test_the_height_may_have_an_angle_of_its_own(
    tmp_path: Path, stated: dict[str, float], focal: float
) -> None:
    frame = {"file_path": "a", "transform_matrix": np.eye(4).tolist()}
    straight = {"k1": 0, "k6": 0.0, "b1": 0, "distortion_params": [0, 0], "is_fisheye": False}
    document = {"camera_angle_x": np.pi / 2, "w": 80, "h": 60, "frames": [frame], **stated}
    document |= straight
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    (camera,) = read_transforms(tmp_path / "transforms.json")
    np.testing.assert_allclose(camera.intrinsics, [[40, 0, 40], [0, focal, 30], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"k1": 0.1}, "is distorted.*undistort them first"),
        *[({key: 1e-3}, "is distorted") for key in ("k5", "k6", "p3", "b1", "b2", "s4")],
        ({"distortion_params": [0.0, 0.1]}, "is distorted"),
        ({"is_fisheye": True}, "is distorted"),
        ({"camera_model": "OPENCV_FISHEYE"}, "is distorted"),
        ({"w": None}, "is no transforms.json"),
        ({"w": "many"}, "invalid literal"),
        ({"transform_matrix": [[1]]}, "must be 4 x 4"),
        ({"transform_matrix": [[1], [1, 2]]}, "inhomogeneous"),
        ({"transform_matrix": np.zeros((4, 4)).tolist()}, "no rotation"),
        ({"transform_matrix": np.diag([1, -1, -1, -1]).tolist()}, "must be 0 0 0 1"),
        ({"transform_matrix": (np.eye(4) + np.eye(4, k=-3)).tolist()}, "not transposed"),
        ({"transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, "mirrors"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, changes: dict[str, object], rule: str) -> None:
    frame = {"file_path": "a", "transform_matrix": np.eye(4).tolist(), "fl_x": 9, "w": 8, "h": 6}
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"frames": [frame | changes]}))
    with pytest.raises(ValueError, match=rf"transforms\.json: .*{rule}"):
        read_transforms(path)


@pytest.mark.parametrize("missing", ["w", "fl_x", "file_path", "transform_matrix"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    frame = {"file_path": "a", "transform_matrix": np.eye(4).tolist(), "fl_x": 9, "w": 8, "h": 6}
    del frame[missing]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"frames": [frame]}))
    with pytest.raises(ValueError, match=rf"transforms\.json: .*{missing}"):
        read_transforms(path)


def test_a_camera_without_a_size_is_refused(tmp_path: Path) -> None:
    silent = Camera(name="a", world_to_camera=np.eye(4)[:3], intrinsics=LENS)
    with pytest.raises(ValueError, match=r"a: size=None; transforms\.json needs"):
        write_transforms(tmp_path / "transforms.json", [silent])
