"""Real photographs, depth and cameras: what is read must agree with itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon_eval import conventions, data, formats, pose
from recon_eval.align import camera_centers
from recon_eval.sets.dtu.projections import read_idr_cameras

FIXTURES = Path(__file__).parent / "fixtures"
PID = "000000000000000000000000"


def reprojection_errors(scene: data.Scene, view: int, other: int) -> torch.Tensor:
    """Relative difference between depth carried from one view to another and the depth there."""
    depth, valid = scene.depth, scene.valid
    cameras, intrinsics = scene.world_to_camera, scene.intrinsics
    assert depth is not None and valid is not None
    assert cameras is not None and intrinsics is not None
    row, column = valid[view].nonzero().T
    pixels = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))])
    local = torch.linalg.inv(intrinsics[view]) @ pixels * depth[view, row, column]
    world = cameras[view, :, :3].T @ (local - cameras[view, :, 3:])
    there = cameras[other, :, :3] @ world + cameras[other, :, 3:]
    landed = intrinsics[other] @ there
    x, y = (landed[:2] / landed[2]).floor().long()
    height, width = depth.shape[1:]
    inside = (there[2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y, z = x[inside], y[inside], there[2][inside]
    known = valid[other, y, x]
    return ((z - depth[other, y, x]).abs() / depth[other, y, x])[known]


def assert_reprojects(scene: data.Scene) -> None:
    for view in range(scene.num_views - 1):
        errors = reprojection_errors(scene, view, view + 1)
        assert len(errors) > 5000
        assert float(errors.quantile(0.5)) < 0.005


def test_depth_of_real_views_reprojects_into_their_neighbors() -> None:
    scene = data.BlendedMVS(FIXTURES / "blendedmvs", "all")[0]
    assert scene.images.shape == (3, 3, 180, 270)
    assert_reprojects(scene)
    small = data.BlendedMVS(FIXTURES / "blendedmvs", "all", size=(112, 112))[0]
    errors = reprojection_errors(small, 0, 1)
    assert float(errors.quantile(0.5)) < 0.01


def test_a_camera_read_wrongly_does_not_reproject() -> None:
    scene = data.BlendedMVS(FIXTURES / "blendedmvs", "all")[0]
    assert scene.world_to_camera is not None
    rotation = scene.world_to_camera[:, :, :3].transpose(1, 2)
    swapped = torch.cat([rotation, -rotation @ scene.world_to_camera[:, :, 3:]], dim=-1)
    wrong = data.Scene(
        name="camera to world",
        images=scene.images,
        depth=scene.depth,
        valid=scene.valid,
        world_to_camera=swapped,
        intrinsics=scene.intrinsics,
    )
    errors = reprojection_errors(wrong, 0, 2)
    assert not len(errors) or float(errors.quantile(0.5)) > 0.05


def test_hololens_in_full(realdata: Path) -> None:
    dataset = data.BlendedMVS(realdata / "hololens_as_blendedmvs", "all")
    scene = dataset[0]
    assert scene.num_views == 16
    assert_reprojects(scene)
    camera = formats.read_cam_txt(dataset.frames(0)[0].camera)  # type: ignore[arg-type]
    assert (camera.tail, camera.guessed) == ("min_interval_planes_max", False)
    chosen = data.BlendedMVS(realdata / "hololens_as_blendedmvs", "all", views=4, samples=3)
    assert all(chosen[i].num_views == 4 for i in range(3))


def test_dtu64_and_idr_give_the_same_cameras(realdata: Path, tmp_path: Path) -> None:
    root = realdata / "dtu_scan65"
    dataset = data.DTU(root, [65], views=5)
    assert dataset.layouts == {65: "dtu64"}
    scene = dataset[0]
    assert scene.images.shape == (5, 3, 300, 400)
    assert scene.valid is not None and scene.depth is None
    assert 0.02 < float(scene.valid.float().mean()) < 0.9
    assert [frame.name for frame in dataset.frames(0)][::4] == ["000000", "000048"]
    (tmp_path / "scan65").mkdir()
    (tmp_path / "scan65/image").symlink_to(root / "scan65/image")
    (tmp_path / "scan65/mask").symlink_to(root / "scan65/mask")
    (tmp_path / "scan65/cameras.npz").symlink_to(root / "cameras_idr.npz")
    other = data.DTU(tmp_path, [65], views=5)
    assert other.layouts == {65: "idr"}
    same = other[0]
    assert same.world_to_camera is not None and scene.world_to_camera is not None
    assert same.intrinsics is not None and scene.intrinsics is not None
    result = pose.evaluate(same.world_to_camera, scene.world_to_camera)
    assert result.rotation_mean_degrees < 0.01
    assert result.direction_mean_degrees < 0.05
    assert torch.allclose(same.intrinsics, scene.intrinsics, rtol=1e-3, atol=1e-2)


def test_dtu_cameras_scaled_by_hand_are_those_of_the_loader(realdata: Path) -> None:
    root = realdata / "dtu_scan65"
    scene = data.DTU(root, [65], views=[0, 33])[0]
    by_hand = formats.read_cam_txt(root / "Cameras_400x300/00000033_cam.txt", two_numbers="min_max")
    assert scene.intrinsics is not None
    # made by K / 4 without moving pixel centers: up to 3/8 of a pixel apart
    assert np.abs(scene.intrinsics[1].numpy() - by_hand.camera.intrinsics).max() < 0.51
    assert len(read_idr_cameras(root / "cameras_idr.npz")) == 49


def test_the_two_meanings_of_two_numbers_are_told_apart(realdata: Path) -> None:
    with pytest.warns(match=r"\[425\.0, 935\.0\] is taken for min_max"):
        camera = formats.read_cam_txt(realdata / "dtu_scan65/Cameras/00000000_cam.txt")
    assert (camera.tail, camera.depth_min, camera.depth_max) == ("min_max", 425.0, 935.0)
    fountain = formats.read_cam_txt(realdata / "strecha_fountain-P11/cams/00000000_cam.txt")
    assert (fountain.depth_min, fountain.depth_max) == (None, None)


def test_da3_convention_on_a_real_rig_calls_good_cameras_worse(realdata: Path) -> None:
    rig = data.DTU(realdata / "dtu_scan65", [65])
    scene = rig[0]
    assert scene.world_to_camera is not None
    target = scene.world_to_camera.double()
    centers = camera_centers(target)
    radius = float((centers - centers.mean(0)).norm(dim=-1).mean())
    rng = np.random.default_rng(0)
    turn = Rotation.from_rotvec(np.deg2rad(0.3) * rng.normal(size=(49, 3)) / np.sqrt(3))
    moved = centers + 0.002 * radius * torch.from_numpy(rng.normal(size=(49, 3)))
    rotation = torch.from_numpy(turn.as_matrix()) @ target[:, :, :3]
    predicted = torch.cat([rotation, -rotation @ moved[..., None]], dim=-1)
    correct = pose.evaluate(predicted, target).auc[3]
    published = conventions.evaluate_pose(predicted, target, convention="da3").values["auc3"]
    assert correct > 0.98
    assert published < correct - 0.03


def test_strecha_loads_and_its_cameras_are_the_original_ones(realdata: Path) -> None:
    folder = realdata / "strecha_fountain-P11"
    scene = data.read_mvsnet(folder)
    assert scene.images.shape == (11, 3, 512, 768)
    assert scene.world_to_camera is not None
    truth = []
    for i in range(11):
        text = (folder / f"gt_dense_cameras/{i:04d}.jpg.camera").read_text().split()
        rotation = torch.tensor([float(x) for x in text[12:21]]).reshape(3, 3).T
        center = torch.tensor([float(x) for x in text[21:24]])
        truth.append(torch.cat([rotation, -(rotation @ center)[:, None]], dim=1))
    result = pose.evaluate(scene.world_to_camera, torch.stack(truth))
    assert result.rotation_mean_degrees < 0.01
    assert result.direction_mean_degrees < 0.05
    assert len(data.Photos(folder / "images")) == 11


def test_the_motorcycle_warps_onto_itself(realdata: Path) -> None:
    scene = data.read_stereo(realdata / "motorcycle")
    assert scene.depth is not None and scene.valid is not None
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    known = scene.depth[0][scene.valid[0]]
    assert float(scene.valid[0].float().mean()) == pytest.approx(0.9265, abs=1e-3)
    assert (float(known.min()), float(known.max())) == pytest.approx((2110, 5017), rel=1e-3)
    assert not scene.valid[1].any()

    def warp_error(sign: int) -> float:
        """Mean difference between each left pixel and what the right camera sees there."""
        row, column = scene.valid[0].nonzero().T  # type: ignore[index]
        pixels = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))])
        points = torch.linalg.inv(scene.intrinsics[0]) @ pixels * known  # type: ignore[index]
        there = points + sign * scene.world_to_camera[1, :, 3:]  # type: ignore[index]
        landed = scene.intrinsics[1] @ there  # type: ignore[index]
        x, y = (landed[:2] / landed[2]).floor().long()
        inside = (x >= 0) & (x < 741) & (y >= 0) & (y < 500)
        left = scene.images[0][:, row[inside], column[inside]]
        right = scene.images[1][:, y[inside], x[inside]]
        return 255 * float((left - right).abs().mean())

    assert warp_error(1) < 15
    assert warp_error(-1) > 30


def test_blendedmvs_clouds_and_photographs_of_the_project_page_load(realdata: Path) -> None:
    folder = realdata / "blendedmvs_lite3r_site"
    for scene in ("04_indoor_statue", "06_tabletop_sculpture"):
        photos = data.Photos(folder / scene / "images")
        assert set(photos.sizes) in ({(576, 768)}, {(768, 576)}) and len(photos) == 12
        points = formats.read_glb(folder / scene / "gt.glb").points
        assert points.shape == (60_000, 3)
        assert np.isfinite(points).all()
    first = formats.read_glb(folder / "04_indoor_statue/gt.glb").points
    assert (first * [1, -1, -1]).max(axis=0).tolist() == pytest.approx(
        [5.390997, 4.0560946, 3.408045]
    )
