"""DTU's layouts, written by hand: every one gives the same photographs and cameras."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from recon_eval import conventions, data, dtu, formats
from recon_eval.sets.dtu.dataset import LAYOUTS
from recon_eval.sets.dtu.projections import read_idr_cameras

SIZE = (30, 40)
K = np.array([[2892.33, 0, 823.205], [0, 2883.18, 619.071], [0, 0, 1]])  # of 1600 x 1200 pixels


def pose_of(view: int) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.1 * view, -0.05, 0.02 * view]).as_matrix()
    pose[:3, 3] = [-191.02 + view, 3.3, 22.5]
    return pose


def camera_text(view: int, intrinsics: np.ndarray, tail: str = "425.0 2.5") -> str:
    rows = [
        "\n".join(" ".join(f"{x:.8f}" for x in row) for row in m)
        for m in (pose_of(view), intrinsics)
    ]
    return f"extrinsic\n{rows[0]}\n\nintrinsic\n{rows[1]}\n\n{tail}\n"


def photo(path: Path, view: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(view).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def write_depth(folder: Path, view: int, size: tuple[int, int], *, gray: int = 255) -> None:
    """A depth that grows by a millimeter a column; its lower half is unknown in the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = np.tile(600.0 + view + np.arange(size[1]), (size[0], 1)).astype(np.float32)
    formats.write_pfm(folder / f"depth_map_{view:04d}.pfm", depth)
    visual = np.zeros(size, dtype=np.uint8)
    visual[: size[0] // 2] = gray
    Image.fromarray(visual).save(folder / f"depth_visual_{view:04d}.png")


def write(root: Path, layout: str, views: int = 3) -> Path:
    scaled = np.diag([0.025, 0.025, 1]) @ K  # of 40 x 30 pixels, corner convention kept below
    scaled[:2, 2] = (K[:2, 2] + 0.5) * 0.025 - 0.5
    for v in range(views):
        if layout in ("dtu64", "idr"):
            photo(root / f"scan7/image/{v:06d}.png", v)
            mask = np.zeros(SIZE, dtype=np.uint8)
            mask[: 10 + v] = 255
            (root / "scan7/mask").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / f"scan7/mask/{v:03d}.png")
        if layout in ("dtu64", "official"):
            text(root / f"Cameras/{v:08d}_cam.txt", camera_text(v, K))
        if layout == "sample_set":
            folder = root / "Calibration/cal18"
            folder.mkdir(parents=True, exist_ok=True)
            np.savetxt(folder / f"pos_{v + 1:03d}.txt", K @ pose_of(v)[:3])
        if layout in ("official", "sample_set"):
            photo(root / f"Rectified/scan7/rect_{v + 1:03d}_3_r5000.png", v)
            photo(root / f"Rectified/scan7/rect_{v + 1:03d}_0_r5000.png", v + 50)
        if layout == "mvsnet_test":
            photo(root / f"scan7/images/{v:08d}.png", v)
            text(root / f"scan7/cams/{v:08d}_cam.txt", camera_text(v, scaled))
            (root / "scan7/depths").mkdir(exist_ok=True)
            np.save(root / f"scan7/depths/{v:08d}.npy", np.full(SIZE, 600.0 + v))
        if layout == "mvsnet_train":
            # as published: halved, cropped, quartered, pixel centers left where they were
            small = np.array([[361.54125, 0, 82.900625], [0, 360.3975, 66.383875], [0, 0, 1]])
            text(root / f"Cameras/train/{v:08d}_cam.txt", camera_text(v, small))
            photo(root / f"Rectified/scan7_train/rect_{v + 1:03d}_3_r5000.png", v, (128, 160))
            write_depth(root / "Depths/scan7_train", v, (32, 40), gray=60)
    if layout == "idr":
        world = {}
        for v in range(views):
            full = np.eye(4)
            full[:3, :3] = K
            world[f"world_mat_{v}"] = (full @ pose_of(v)).astype(np.float32)
            world[f"scale_mat_{v}"] = np.eye(4)
        np.savez(root / "scan7/cameras.npz", **world)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognized_and_gives_the_same_scene(tmp_path: Path, layout: str) -> None:
    dataset = data.DTU(write(tmp_path, layout), [7])
    assert dataset.layouts == {7: layout}
    assert len(dataset) == 1
    scene = dataset[0]
    assert scene.num_views == 3
    assert scene.name == "scan7"
    height, width = scene.images.shape[2:]
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    wanted = torch.tensor(np.stack([pose_of(v)[:3] for v in range(3)])).float()
    assert torch.allclose(scene.world_to_camera, wanted, rtol=1e-4, atol=1e-3)
    corner = K.copy()
    corner[:2, 2] += 0.5
    whole = np.diag([width / 1600, height / 1200, 1]) @ corner
    half = np.array([[0.5, 0, -80], [0, 0.5, -44], [0, 0, 1]]) @ corner
    part = np.diag([width / 640, height / 512, 1]) @ half
    expected = torch.from_numpy(part if layout == "mvsnet_train" else whole).float()
    assert torch.allclose(scene.intrinsics[0], expected, rtol=1e-4, atol=1e-3)
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert torch.equal(
        (scene.images[1] * 255).round().byte().permute(1, 2, 0), torch.from_numpy(pixels)
    )


def test_training_depth_is_enlarged_by_repetition_and_masked(tmp_path: Path) -> None:
    scene = data.DTU(write(tmp_path, "mvsnet_train"), [7])[0]
    assert scene.depth is not None and scene.valid is not None
    assert scene.depth.shape == (3, 128, 160)
    assert scene.valid[:, :64].all() and not scene.valid[:, 64:].any()
    assert torch.equal(scene.depth[2, 0], 602.0 + torch.arange(40).repeat_interleave(4))
    assert not scene.depth[:, 64:].any()


@pytest.mark.parametrize("folder", ["Depths_raw", "depth_raw/Depths"])
def test_raw_depth_belongs_to_whole_photographs(tmp_path: Path, folder: str) -> None:
    root = write(tmp_path, "official")
    for view in range(3):
        write_depth(root / folder / "scan7", view, SIZE, gray=30)
    scene = data.DTU(root, [7])[0]
    assert scene.depth is not None and scene.valid is not None
    assert torch.equal(scene.depth[1, 0], 601.0 + torch.arange(40))
    assert scene.valid[:, :15].all() and not scene.valid[:, 15:].any()


def test_raw_depth_is_halved_and_cropped_for_training_images(tmp_path: Path) -> None:
    root = write(tmp_path, "mvsnet_train", views=1)
    for path in (root / "Depths/scan7_train").iterdir():
        path.unlink()
    (root / "Depths/scan7_train").rmdir()
    photo(root / "Rectified/scan7_train/rect_001_3_r5000.png", 0, (512, 640))
    write_depth(root / "Depths_raw/scan7", 0, (1200, 1600))
    scene = data.DTU(root, [7])[0]
    assert scene.depth is not None and scene.valid is not None
    assert scene.depth.shape == (1, 512, 640)
    assert torch.equal(scene.depth[0, 0], 600.0 + 2 * (80 + torch.arange(640.0)))
    assert scene.valid[:, : 300 - 44].all() and not scene.valid[:, 300 - 44 :].any()
    write_depth(root / "Depths_raw/scan7", 0, (600, 800))
    with pytest.raises(ValueError, match=r"depth_map_0000\.pfm: .*it must hold its image"):
        data.DTU(root, [7])[0]


def test_cameras_of_neus_are_found_by_their_name(tmp_path: Path) -> None:
    root = write(tmp_path, "idr")
    wanted = data.DTU(root, [7])[0].world_to_camera
    (root / "scan7/cameras.npz").rename(root / "scan7/cameras_sphere.npz")
    dataset = data.DTU(root, [7])
    assert dataset.layouts == {7: "idr"}
    found = dataset[0].world_to_camera
    assert found is not None and wanted is not None and torch.equal(found, wanted)
    (root / "scan7/cameras_sphere.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no cameras\.npz or cameras_sphere\.npz"):
        data.DTU(root, [7], layout="idr")[0]


def test_a_missing_mask_or_depth_map_is_named_with_its_image(tmp_path: Path) -> None:
    root = write(tmp_path, "mvsnet_train")
    for name in ("depth_visual_0001.png", "depth_map_0002.pfm"):
        (root / "Depths/scan7_train" / name).rename(tmp_path / name)
        with pytest.raises(FileNotFoundError, match=rf"{name}: does not exist, and rect_00\d_3_"):
            data.DTU(root, [7])[0]
        (tmp_path / name).rename(root / "Depths/scan7_train" / name)
    (root / "Depths/scan7_train/depth_visual_0000.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"depth_visual_0000\.png: its content is no"):
        data.DTU(root, [7])[0]


def test_a_mask_that_only_some_views_have_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "dtu64")
    (root / "scan7/mask/001.png").unlink()
    with pytest.raises(ValueError, match=r"frames \['000001'\] have no mask; others have one"):
        data.DTU(root, [7])[0]


def test_masks_without_depth_are_the_validity(tmp_path: Path) -> None:
    scene = data.DTU(write(tmp_path, "dtu64"), [7])[0]
    assert scene.depth is None and scene.valid is not None
    assert [int(mask.sum()) for mask in scene.valid] == [400, 440, 480]


def test_depth_in_numpy_files_is_read(tmp_path: Path) -> None:
    scene = data.read_mvsnet(write(tmp_path, "mvsnet_test") / "scan7", size=(15, 20))
    assert scene.depth is not None
    assert scene.depth[:, 0, 0].tolist() == [600.0, 601.0, 602.0]


def test_views_are_chosen_by_number_or_evenly(tmp_path: Path) -> None:
    root = write(tmp_path, "dtu64", views=7)
    names = lambda views: [int(f.name) for f in data.DTU(root, [7], views=views).frames(0)]  # noqa: E731
    assert names(3) == [0, 3, 6]
    assert names(1) == [0]
    assert names([5, 2]) == [5, 2]
    assert names(None) == list(range(7))
    for wrong in (8, 0, [1, 9], []):
        with pytest.raises(ValueError, match="views is"):
            names(wrong)


@pytest.mark.parametrize("layout", ["dtu64", "idr"])
def test_the_first_view_is_chosen_among_those_there_are(tmp_path: Path, layout: str) -> None:
    root = write(tmp_path, layout, views=5)
    names = [int(frame.name) for frame in data.DTU(root, [7], first=3).frames(0)]
    assert names == [3, 0, 1, 2, 4]
    with pytest.raises(ValueError, match="first=33; it must be one of the views of scan 7"):
        data.DTU(root, [7], first=33).frames(0)
    with pytest.raises(ValueError, match="first=3; it must"):
        data.DTU(root, [7], views=[0, 1], first=3).frames(0)


def test_dtu64_has_all_views_of_thirteen_scans_number_33_first(tmp_path: Path) -> None:
    root = write(tmp_path, "dtu64", views=36)
    for scan in dtu.SCANS["dtu64"][:-1]:
        (root / f"scan{scan}").symlink_to(root / "scan7")
    with pytest.raises(FileNotFoundError, match="scan 122 is there in no known layout"):
        dtu.dtu64(root)
    (root / "scan122").symlink_to(root / "scan7")
    dataset = dtu.dtu64(root, size=(15, 20))
    assert dataset.scans == (24, 37, 40, 55, 63, 65, 69, 83, 97, 105, 114, 118, 122)
    numbers = [int(frame.name) for frame in dataset.frames(12)]
    assert numbers == [33, *range(33), 34, 35]
    assert dataset[0].images.shape == (36, 3, 15, 20)


def test_dtu64_poses_are_measured_both_ways() -> None:
    target = torch.from_numpy(np.stack([pose_of(view)[:3] for view in range(9)]))
    predicted = target.clone()
    turn = Rotation.from_rotvec([0.0, 0.01, 0.0]).as_matrix()
    predicted[4] = torch.from_numpy(turn) @ target[4]
    correct, published = dtu.evaluate_poses(predicted, target)
    assert (correct.protocol, published.protocol) == ("pose/pairs/signed", "da3/pose")
    assert set(correct.auc) == {3, 5, 15, 30}
    assert correct.rotation_mean_degrees == pytest.approx(np.rad2deg(0.01) * 8 / 36)
    assert published == conventions.evaluate_pose(predicted, target, convention="da3")


def test_lights_and_lists_are_chosen_by_name(tmp_path: Path) -> None:
    root = write(tmp_path, "official")
    assert data.DTU(root, [7], light=0).frames(0)[0].image.name == "rect_001_0_r5000.png"
    with pytest.raises(FileNotFoundError, match="of light 5"):
        data.DTU(root, [7], light=5).frames(0)
    with pytest.raises(ValueError, match="one of mvsnet_test, mvsnet_validation"):
        data.DTU(root, "test")
    with pytest.raises(FileNotFoundError, match="scan 1 is there in no known layout"):
        data.DTU(root, "mvsnet_test")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.DTU(tmp_path / "nowhere", [1])


def test_a_missing_camera_is_named_with_its_image(tmp_path: Path) -> None:
    root = write(tmp_path, "dtu64")
    (root / "Cameras/00000001_cam.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"00000001_cam\.txt: .* 000001\.png needs it"):
        data.DTU(root, [7])[0]


def test_frames_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "mvsnet_test") / "scan7"
    np.save(root / "depths/00000001.npy", np.ones((7, 9)))
    with pytest.raises(ValueError, match="smaller by one whole factor"):
        data.read_mvsnet(root)
    (root / "depths/00000001.npy").unlink()
    with pytest.raises(ValueError, match=r"frames \['00000001'\] have no depth"):
        data.read_mvsnet(root)
    for depth in (root / "depths").iterdir():
        depth.unlink()
    (root / "depths").rmdir()
    photo(root / "images/00000002.png", 2, (10, 12))
    with pytest.raises(ValueError, match="images have the sizes"):
        data.read_mvsnet(root)


@pytest.mark.parametrize("content", ["1 2 3", "0 " * 12, "1 " * 13, "a " * 12, ""])
def test_projections_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    root = write(tmp_path, "sample_set")
    (root / "Calibration/cal18/pos_002.txt").write_text(content)
    with pytest.raises(ValueError, match=r"pos_002\.txt: "):
        data.DTU(root, [7])[0]


def test_stored_objects_are_not_unpickled(tmp_path: Path) -> None:
    root = write(tmp_path, "mvsnet_test") / "scan7"
    np.save(root / "depths/00000000.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"00000000\.npy: is no NumPy array"):
        data.read_mvsnet(root)
    np.savez(tmp_path / "cameras.npz", world_mat_0=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"cameras\.npz"):
        read_idr_cameras(tmp_path / "cameras.npz")
