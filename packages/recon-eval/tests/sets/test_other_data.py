"""ETH3D, 7-Scenes, ScanNet++ and videos: written by hand in their own conventions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from recon_eval import data
from recon_eval.sets.eth3d import colmap_frames

on_disk = settings.get_profile("on_disk")


def photo(path: Path, seed: int, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def poses(count: int) -> np.ndarray:
    """World-to-camera matrices."""
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.random(count, random_state=0).as_matrix()
    found[:, :3, 3] = np.random.default_rng(0).normal(size=(count, 3))
    return found


def eth3d(root: Path, cameras: str | None = None) -> Path:
    folder = root / "facade"
    model = folder / "dslr_calibration_undistorted"
    model.mkdir(parents=True)
    lines = ["# IMAGE_ID, QW, ..."]
    for i, pose in reversed(list(enumerate(poses(3)))):
        name = f"dslr_images_undistorted/DSC_{i:04d}.JPG"
        photo(folder / "images" / name, i, 30 + i, 40)
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        values = " ".join(f"{v:.12g}" for v in (w, x, y, z, *pose[:3, 3]))
        lines += [f"{i + 1} {values} {i} {name}", "" if i else "1.5 2.5 -1 3 4 7"]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    default = "# cameras\n0 PINHOLE 40 30 50 51 20 15\n1 PINHOLE 40 31 50 51 20 15\n"
    default += "2 SIMPLE_PINHOLE 40 32 50 20 16\n"
    (model / "cameras.txt").write_text(cameras or default)
    return root


def test_eth3d_scenes_of_mixed_sizes_come_at_one(tmp_path: Path) -> None:
    dataset = data.ETH3D(eth3d(tmp_path), size=(15, 20))
    scene = dataset[0]
    assert scene.name == "facade"
    assert scene.images.shape == (3, 3, 15, 20)
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    assert torch.allclose(
        scene.world_to_camera, torch.from_numpy(poses(3)[:, :3]).float(), atol=1e-6
    )
    half = torch.tensor([[25, 0, 10], [0, 25.5, 7.5], [0, 0, 1]])
    assert torch.allclose(scene.intrinsics[0], half)
    assert scene.intrinsics[2, 1, 2] == pytest.approx(8.0)  # 16 rows, of which none is cut above
    assert data.ETH3D(tmp_path, size=(15, 20), views=[1])[0].num_views == 1


def test_a_turned_image_of_a_camera_that_is_not_is_refused(tmp_path: Path) -> None:
    eth3d(tmp_path)
    turned, exif = tmp_path / "facade/images/dslr_images_undistorted/DSC_0001.JPG", Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(turned) as image:
        image.save(turned, exif=exif)
    dataset = data.ETH3D(tmp_path, size=(15, 20))
    with pytest.raises(ValueError, match=r"DSC_0001\.JPG: is 31 x 40, and .* speaks of 40 x 31"):
        dataset[0]
    assert data.ETH3D(tmp_path, size=(15, 20), views=[0, 2])[0].num_views == 2


@pytest.mark.parametrize(
    ("cameras", "rule"),
    [
        ("0 OPENCV 40 30 50 51 20 15 0.1 0 0 0", "undistort the images first"),
        ("0 PINHOLE 40 30 50 51 20", "has 3 parameters; it must have 4"),
        ("0 PINHOLE 40 30 50 51 20 x", "could not convert string to float: 'x'"),
        ("9 PINHOLE 40 30 50 51 20 15", "names camera 2; it is not there"),
    ],
)
def test_colmap_models_that_cannot_be_used_are_refused(
    tmp_path: Path, cameras: str, rule: str
) -> None:
    root = eth3d(tmp_path, cameras)
    with pytest.raises(ValueError, match=rf"\.txt: .*{rule}"):
        data.ETH3D(root, size=(15, 20))[0]


@given(position=st.integers(0, 600), content=st.text(max_size=12))
@on_disk
def test_damaged_colmap_models_are_read_or_refused(
    tmp_path: Path, position: int, content: str
) -> None:
    folder = tmp_path / "facade"
    if not folder.exists():
        eth3d(tmp_path)
        (folder / "original.txt").write_text((folder / f"{MODEL}/images.txt").read_text())
    text = (folder / "original.txt").read_text()
    (folder / f"{MODEL}/images.txt").write_text(text[:position] + content + text[position + 3 :])
    try:
        colmap_frames(folder / MODEL, folder / "images")
    except (ValueError, FileNotFoundError) as error:
        assert str(folder) in str(error)


MODEL = "dslr_calibration_undistorted"


def test_eth3d_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no folder in it has {MODEL}"):
        data.ETH3D(tmp_path, size=(15, 20))
    with pytest.raises(FileNotFoundError, match="pipes"):
        data.ETH3D(eth3d(tmp_path), size=(15, 20), scenes=["pipes"])


def seven_scenes(root: Path, frames: int = 3) -> Path:
    (root / "seq-02").mkdir()
    (root / "TestSplit.txt").write_text("sequence2\n")
    for i, pose in enumerate(poses(frames)):
        stem = root / f"seq-02/frame-{i:06d}"
        photo(Path(f"{stem}.color.png"), i, 480, 640)
        depth = np.full((480, 640), 1000 + i, dtype=np.uint16)
        depth[0], depth[1] = 65535, 0
        Image.fromarray(depth).save(f"{stem}.depth.png")
        np.savetxt(f"{stem}.pose.txt", np.linalg.inv(pose), fmt="%.9g")
    return root


def test_seven_scenes_has_meters_and_inverted_poses(tmp_path: Path) -> None:
    scene = data.SevenScenes(seven_scenes(tmp_path), "test", step=2)[0]
    assert scene.num_views == 2
    assert scene.depth is not None and scene.valid is not None
    assert scene.world_to_camera is not None
    assert scene.depth[1, 5, 5] == pytest.approx(1.002)
    assert not scene.valid[:, :2].any() and scene.valid[:, 2:].all()
    wanted = torch.from_numpy(poses(3)[::2, :3]).float()
    assert torch.allclose(scene.world_to_camera, wanted, atol=1e-5)
    small = data.SevenScenes(tmp_path, "test", step=3, size=(48, 64))[0]
    assert small.images.shape == (1, 3, 48, 64)


def test_seven_scenes_that_are_broken_are_refused(tmp_path: Path) -> None:
    root = seven_scenes(tmp_path, frames=1)
    with pytest.raises(FileNotFoundError, match="TrainSplit"):
        data.SevenScenes(root, "train", step=1)
    photo(root / "seq-02/frame-000000.color.png", 0, 240, 320)
    with pytest.raises(ValueError, match=r"color\.png: is 320 x 240"):
        data.SevenScenes(root, "test", step=1)[0]
    photo(root / "seq-02/frame-000000.color.png", 0, 480, 640)
    (root / "seq-02/frame-000000.pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 5 0 0 0 0 1")
    with pytest.raises(ValueError, match=r"pose\.txt.*not a rotation"):
        data.SevenScenes(root, "test", step=1)[0]
    photo(root / "seq-02/frame-000000.depth.png", 0, 480, 640)
    with pytest.raises(ValueError, match=r"depth\.png: is no depth map"):
        data.SevenScenes(root, "test", step=1)[0]


def nerfstudio(world_to_camera: np.ndarray) -> list[list[float]]:
    """Camera to world as nerfstudio's converter writes it, step by step."""
    matrix = np.linalg.inv(world_to_camera)
    matrix[:3, 1:3] *= -1  # the camera's y up and z backwards
    matrix = matrix[[1, 0, 2, 3]]  # the world's x and y swapped
    matrix[2] *= -1  # and its z reversed
    return matrix.tolist()


def scannetpp(root: Path, **changes: object) -> Path:
    frames = []
    for i, pose in enumerate(poses(3)):
        photo(root / f"a1b2/dslr/undistorted_images/DSC{i:05d}.JPG", i, 24, 36)
        mask = np.full((24, 36), 255, dtype=np.uint8)
        mask[:2], mask[2:4] = 0, 254  # interpolation leaves grays, which are no use either
        (root / "a1b2/dslr/undistorted_anon_masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f"a1b2/dslr/undistorted_anon_masks/DSC{i:05d}.png")
        name = f"DSC{i:05d}"
        frames.append(
            {
                "file_path": f"{name}.JPG",
                "mask_path": f"{name}.png",
                "transform_matrix": nerfstudio(pose),
            }
        )
    stored = {"fl_x": 50, "fl_y": 51, "cx": 36, "cy": 24, "w": 72, "h": 48}
    stored |= {"frames": frames[::-1][:2], "test_frames": frames[:1]} | changes
    path = root / "a1b2/dslr/nerfstudio/transforms_undistorted.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(stored))
    return root


def test_scannetpp_cameras_stand_in_the_world_of_the_scan(tmp_path: Path) -> None:
    scene = data.ScanNetPP(scannetpp(tmp_path))[0]
    assert scene.name == "a1b2"
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    assert torch.allclose(
        scene.world_to_camera, torch.from_numpy(poses(3)[:, :3]).float(), atol=1e-5
    )
    assert scene.intrinsics[0].tolist() == [[25, 0, 18], [0, 25.5, 12], [0, 0, 1]]
    assert scene.valid is not None and scene.depth is None
    assert not scene.valid[:, :4].any() and scene.valid[:, 4:].all()
    dslr = tmp_path / "a1b2/dslr"
    (dslr / "undistorted_images").rename(dslr / "resized_undistorted_images")
    (dslr / "undistorted_anon_masks").rename(dslr / "resized_undistorted_masks")
    again = data.ScanNetPP(tmp_path)[0]
    assert torch.equal(again.images, scene.images)
    assert again.valid is not None and torch.equal(again.valid, scene.valid)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"fl_x": None}, "no transforms.json"),
        ({"frames": [], "test_frames": []}, "names 0 images"),
        ({"h": 0}, "both sides must be at least 1"),
        ({"frames": [{"file_path": "a"}]}, "no transforms.json"),
        ({"frames": [{"file_path": "a", "transform_matrix": [[1]]}]}, "must be 4 x 4"),
        (
            {"frames": [{"file_path": "a", "transform_matrix": np.diag([2, 2, 2, 1]).tolist()}]},
            "not a rotation",
        ),
    ],
)
def test_scannetpp_files_that_are_broken_are_refused(
    tmp_path: Path, changes: dict[str, object], rule: str
) -> None:
    root = scannetpp(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"transforms_undistorted\.json: .*{rule}"):
        data.ScanNetPP(root)[0]


def video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for i in range(frames):
        writer.write(np.full((24, 32, 3), (20 * i, 10, 200 - 10 * i), dtype=np.uint8))
    writer.release()
    return path


def test_frames_of_a_video_are_the_ones_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", 9)
    spread = data.VideoFrames(path, count=3)
    assert spread.numbers == [0, 4, 8]
    blue = [float(np.asarray(image)[..., 2].mean()) for image in spread]
    red = [float(np.asarray(image)[..., 0].mean()) for image in spread]
    assert blue == pytest.approx([0, 80, 160], abs=6)
    assert red == pytest.approx([200, 160, 120], abs=6)
    assert data.VideoFrames(path, every=4).numbers == [0, 4, 8]
    saved = spread.save(tmp_path / "frames")
    assert data.Photos(tmp_path / "frames").paths == saved


def test_frames_are_saved_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = data.VideoFrames(video(tmp_path / "a.avi", 9), count=3)

    def damaged(capture: object, path: Path, position: int) -> Image.Image:
        if position == 8:
            raise ValueError("frame 8 cannot be decoded")
        return Image.new("RGB", (8, 6))

    with monkeypatch.context() as patched, pytest.raises(ValueError, match="frame 8"):
        patched.setattr("recon_eval.sets.video._decode", damaged)
        spread.save(tmp_path / "frames")
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]
    assert len(spread.save(tmp_path / "frames")) == 3
    with pytest.raises(FileExistsError, match=r"frames: exists; .*name another"):
        spread.save(tmp_path / "frames")


def test_videos_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"a\.mp4: is no video"):
        data.VideoFrames(tmp_path / "a.mp4", count=2)
    with pytest.raises(FileNotFoundError):
        data.VideoFrames(tmp_path / "b.mp4", count=2)
    path = video(tmp_path / "c.avi", 3)
    with pytest.raises(ValueError, match="has 3 readable frames; 4 are asked for"):
        data.VideoFrames(path, count=4)
    with pytest.raises(ValueError, match="give one of the two"):
        data.VideoFrames(path)
