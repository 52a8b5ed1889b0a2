"""`reconstruct` does alone what the program does: photos in, cameras and depth out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from recon_backbones import (
    Backbone,
    GivenCamera,
    InputError,
    KnownDistance,
    Masks,
    PhotoChoice,
    Reconstruction,
    Refinement,
    load_backbone,
    reconstruct,
)
from recon_backbones.views.scale import End

from .rooms import Room, room

NAMES = ("a.png", "b.png", "c.png", "d.png")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="bundled")


@pytest.fixture(scope="module")
def scene() -> Room:
    return room(4, 90, 120)


@pytest.fixture
def photos(tmp_path: Path, scene: Room) -> Path:
    for name, image in zip(NAMES, scene.images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def test_weights_that_learned_from_no_photo_are_told(photos: Path, backbone: Backbone) -> None:
    for other in (backbone, load_backbone("da3-tiny", weights="random")):
        said: list[str] = []
        made = reconstruct(photos, other, size=28, say=said.append)
        assert ("weights" in dict(made.facts)) == (other is backbone)
        assert any("computer-made" in one for one in said) == (other is backbone)


def test_a_folder_becomes_cameras_and_depth_in_the_photos_own_pixels(
    photos: Path, backbone: Backbone
) -> None:
    found = reconstruct(photos, backbone, size=56)
    assert found.photos == NAMES
    assert found.root == photos
    assert found.sizes == ((120, 90),) * 4
    assert found.world_to_camera.shape == (4, 3, 4)
    np.testing.assert_allclose(found.world_to_camera[0], np.eye(4)[:3], atol=1e-12)
    assert found.depth.shape == found.confidence.shape == found.keep.shape == (4, 42, 56)
    assert found.depth_of(1).shape == found.confidence_of(1).shape == found.keep_of(1).shape
    assert found.depth_of(1).shape == (90, 120)
    # the same ray: a pixel's place over the focal length, seen small and at the photo's own size
    ratio = found.intrinsics[:, 0, 0] / found.intrinsics_seen[:, 0, 0]
    np.testing.assert_allclose(ratio, 120 / 56, rtol=1e-6)


def test_what_is_predicted_is_what_the_backbone_says(photos: Path, backbone: Backbone) -> None:
    found = reconstruct([photos / name for name in NAMES], backbone, size=56)
    images = torch.from_numpy(found.images).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        direct = backbone(images)
    np.testing.assert_array_equal(found.depth, direct.depth[0].numpy())
    np.testing.assert_array_equal(found.confidence, direct.depth_conf[0].numpy())


def test_a_backbone_in_16_bits_is_widened_where_float32_is_asked_for(
    photos: Path, backbone: Backbone
) -> None:
    half = load_backbone("da3-tiny", weights="bundled", dtype=torch.bfloat16)
    reconstruct(photos, half, size=56)
    assert next(half.parameters()).dtype == torch.bfloat16
    found = reconstruct(photos, half, size=56, precision="float32")
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}
    exact = reconstruct(photos, backbone, size=56).depth
    assert np.median(np.abs(found.depth - exact) / exact) < 0.01


def test_several_folders_keep_their_names_apart(photos: Path, backbone: Backbone) -> None:
    for name in ("left", "right"):
        (photos / name).mkdir()
    for index, name in enumerate(NAMES):
        (photos / name).rename(photos / ("left", "right")[index % 2] / f"{index // 2}.png")
    found = reconstruct([photos / "left", photos / "right"], backbone, size=56)
    assert found.photos == ("left/0.png", "left/1.png", "right/0.png", "right/1.png")


def test_frames_of_a_video_stay_only_where_a_folder_is_given(
    tmp_path: Path, scene: Room, backbone: Backbone
) -> None:
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (120, 90))
    for image in scene.images:
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))
    writer.release()
    choice = PhotoChoice(frames=3)
    gone = reconstruct(video, backbone, size=56, choice=choice)
    assert not gone.root.exists()
    kept = reconstruct(video, backbone, size=56, choice=choice, frames=tmp_path / "frames")
    assert gone.photos == kept.photos
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == list(kept.photos)
    np.testing.assert_array_equal(gone.depth, kept.depth)


def test_given_cameras_come_back_and_photos_without_one_are_left_out(
    photos: Path, scene: Room, backbone: Backbone
) -> None:
    def cameras(paths: Sequence[Path]) -> list[GivenCamera | None]:
        return [
            None
            if path.name == "b.png"
            else GivenCamera(
                name=path.name,
                world_to_camera=scene.world_to_camera[NAMES.index(path.name)].double().numpy(),
                intrinsics=scene.intrinsics[0].double().numpy(),
            )
            for path in paths
        ]

    said: list[str] = []
    found = reconstruct(photos, backbone, size=56, cameras=cameras, say=said.append)
    assert found.photos == ("a.png", "c.png", "d.png")
    assert "left out, without a camera: b.png" in said
    truth = scene.world_to_camera[[0, 2, 3]].numpy()
    np.testing.assert_allclose(found.world_to_camera, truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.intrinsics[0], scene.intrinsics[0].numpy(), rtol=1e-5)
    distance = KnownDistance(first=End(photo="a.png"), second=End(photo="c.png"), meters=1.0)
    with pytest.raises(
        InputError, match="known_distance with cameras; these already give the scale"
    ):
        reconstruct(photos, backbone, size=56, cameras=cameras, known_distance=distance)


@pytest.mark.parametrize("refine", [None, Refinement()])
def test_given_cameras_far_from_the_origin_come_back_to_the_last_bit(
    photos: Path, scene: Room, backbone: Backbone, refine: Refinement | None
) -> None:
    """And everything else is what it is of the same cameras about the origin."""

    def made(shift: Sequence[float]) -> tuple[Reconstruction, np.ndarray, list[str]]:
        poses = scene.world_to_camera.double().numpy()
        moved = poses[:, :, :3] @ np.array(shift)
        poses = np.concatenate([poses[:, :, :3], poses[:, :, 3:] - moved[..., None]], axis=2)
        lens = scene.intrinsics[0].double().numpy() + np.pi * np.eye(3, 3, 2)  # no float32

        def cameras(paths: Sequence[Path]) -> list[GivenCamera]:
            return [
                GivenCamera(
                    name=path.name, world_to_camera=poses[NAMES.index(path.name)], intrinsics=lens
                )
                for path in paths
            ]

        said: list[str] = []
        words = {"cameras": cameras, "refine": refine, "say": said.append}
        return reconstruct(photos, backbone, size=56, **words), poses, said

    near, _, quiet = made((0.0, 0, 0))
    far, poses, said = made((450000.123, 5500000.45, 300.7))
    if refine is None:
        np.testing.assert_array_equal(far.world_to_camera, poses)
    np.testing.assert_array_equal(far.intrinsics, near.intrinsics)
    np.testing.assert_allclose(far.depth, near.depth, rtol=1e-3)
    centers, local = (  # solved for: rotations of a room are those of float32
        -np.linalg.solve(m.world_to_camera[:, :, :3], m.world_to_camera[:, :, 3:])[:, :, 0]
        for m in (far, near)
    )
    np.testing.assert_allclose(centers - (450000.123, 5500000.45, 300.7), local, atol=1e-4)
    assert "far from the origin" not in dict(near.facts)
    told = dict(far.facts)["far from the origin"]
    assert "float32 has steps of 0.5" in told
    assert told in said and not any("float32" in sentence for sentence in quiet)


@pytest.mark.parametrize("refine", [None, Refinement()])
def test_a_known_distance_makes_meters_in_windows_and_of_refined_cameras_too(
    photos: Path, backbone: Backbone, refine: Refinement | None
) -> None:
    distance = KnownDistance(first=End(photo="a.png"), second=End(photo="d.png"), meters=2.5)
    words = {"known_distance": distance, "refine": refine}
    found = reconstruct(photos, backbone, size=56, window=3, overlap=2, **words)
    assert refine is None or found.tracked is not None
    poses = found.world_to_camera
    centers = -np.einsum("vji,vj->vi", poses[:, :, :3], poses[:, :, 3])
    assert np.linalg.norm(centers[3] - centers[0]) == pytest.approx(2.5, rel=1e-4)
    assert dict(found.facts)["passes"].startswith("windows of 3 views that share 2")


def test_an_end_that_is_in_no_photo_is_refused_before_the_network_runs(
    photos: Path, backbone: Backbone
) -> None:
    said: list[str] = []
    for first in ("z.png", "a.png:500,1"):
        distance = KnownDistance.between(first, "d.png", 2.5)
        with pytest.raises(InputError, match=r"z\.png is none of the photos|outside of the photo"):
            reconstruct(photos, backbone, size=56, known_distance=distance, say=said.append)
    assert not any("views" in sentence for sentence in said)


def test_masks_and_budgets_are_obeyed(photos: Path, backbone: Backbone) -> None:
    masks = Masks(confidence_percentile=60.0, edge_tolerance=100.0)
    assert reconstruct(photos, backbone, size=56, masks=masks).keep.mean() <= 0.41
    with pytest.raises(InputError, match=r"at the very least.*1 MB may be used"):
        reconstruct(photos, backbone, size=56, budget="1MB")


def test_the_backbone_is_left_as_it_was(photos: Path, backbone: Backbone) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    reconstruct(photos, backbone, size=56)
    after = backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not backbone._forward_hooks
    assert all(not module._forward_hooks for module in backbone.modules())
