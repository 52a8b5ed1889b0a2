"""What a program sets as PyTorch's default type or device, for a network of its own, changes
nothing here. A device without numbers, "meta", stands in for a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from recon_backbones import Reconstruction, Refinement, load_backbone, reconstruct
from recon_backbones.photos import load_batch
from recon_backbones.refine.lenses import Lenses
from recon_backbones.refine.model import Cameras
from recon_backbones.refine.tracks import Tracks
from recon_backbones.training.targets import make_targets, rays
from recon_backbones.views.memory import Work, footprint

from .rooms import room

KINDS = (torch.float64, torch.bfloat16, torch.float16, "meta")


@contextmanager
def default(kind: torch.dtype | str) -> Iterator[None]:
    before = torch.get_default_dtype()
    if isinstance(kind, str):
        torch.set_default_device(kind)
    else:
        torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)


@torch.no_grad()
def assert_same_under_every_default(run: Callable[[], list[Tensor]]) -> None:
    expected = run()
    for kind in KINDS:
        with default(kind):
            found = run()
        for one, other in zip(expected, found, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other), kind


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_a_seed_draws_the_same_weights(name: str) -> None:
    assert_same_under_every_default(
        lambda: list(load_backbone(name, weights="random", seed=3).state_dict().values())
    )


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny", "da3nested-tiny"])
def test_networks_answer_the_same_bits(name: str) -> None:
    backbone = load_backbone(name, weights="random")
    images = torch.rand(1, 3, 3, 28, 42)

    def run() -> list[Tensor]:
        found = backbone(images)
        return [found.depth, found.world_to_camera, found.intrinsics]

    assert_same_under_every_default(run)


def test_tracks_end_on_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch leaves its fused path, which sums in another order, beside any default device
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    backbone = load_backbone("vggt-tiny", weights="random")
    images, queries = torch.rand(1, 3, 3, 28, 42), 20 * torch.rand(1, 5, 2)

    def run() -> list[Tensor]:
        found = backbone.track(images, queries)
        return [*found.passes, found.visibility]

    assert_same_under_every_default(run)


def test_photos_and_predicted_memory_stay_the_same(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    backbone = load_backbone("da3-tiny", weights="random")

    def run() -> list[Tensor]:
        images = load_batch([tmp_path / "a.png"], backbone, 56).images
        found = footprint(backbone, Work(views=2, height=28, width=42))
        return [images, torch.tensor([found.inputs, found.total("cpu")], device="cpu")]

    assert_same_under_every_default(run)


def test_cameras_are_refined_and_windows_joined_the_same(tmp_path: Path) -> None:
    pixels = (room(4, 112, 112, finest=6.0).images.permute(0, 2, 3, 1) * 255).byte().numpy()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    backbone = load_backbone("da3-tiny", weights="bundled")

    def run() -> Reconstruction:
        return reconstruct(
            tmp_path, backbone, size=112, window=3, overlap=2, refine=Refinement(keypoints=500)
        )

    expected = run()
    assert dict(expected.facts)["cameras refined"].startswith("4 of 4 views")
    for kind in KINDS:
        with default(kind):
            found = run()
        assert found.facts == expected.facts
        np.testing.assert_allclose(found.world_to_camera, expected.world_to_camera, atol=0.01)


def test_training_aims_at_the_same(tmp_path: Path) -> None:
    scene = room(3, 56, 56)
    given = [t[None] for t in (scene.depth, scene.world_to_camera, scene.intrinsics)]

    def run() -> list[Tensor]:
        targets = make_targets(*given, torch.ones_like(given[0], dtype=torch.bool))
        return [targets.depth, targets.pose, targets.matches, rays(targets, 4, 4)]

    assert_same_under_every_default(run)


def test_shared_points_are_counted_and_lenses_weighed_the_same() -> None:
    view, point = torch.arange(2).repeat(999), torch.arange(999).repeat_interleave(2)
    no = torch.zeros(len(view), 2, dtype=torch.float64)
    tracks = Tracks(view=view, point=point, xy=no, points=torch.zeros(999, 3, dtype=torch.float64))
    pose = torch.eye(3, 4, dtype=torch.float64).expand(2, 3, 4)
    lens = torch.tensor([[901.0, 0, 333], [0, 899, 222], [0, 0, 1]], dtype=torch.float64)
    cameras = Cameras.of(pose, lens.expand(2, 3, 3))

    def run() -> list[Tensor]:
        lenses = Lenses.of(cameras, [(667, 443)] * 2, "shared")
        return [tracks.shared(2), *lenses.prior(cameras), lenses.near]

    assert_same_under_every_default(run)
