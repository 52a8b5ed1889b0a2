"""What a program sets as PyTorch's default type, for a network of its own, changes nothing here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from recon_backbones import load_backbone
from recon_backbones.photos import load_batch
from recon_backbones.refine.lenses import Lenses
from recon_backbones.refine.model import Cameras
from recon_backbones.refine.tracks import Tracks
from recon_backbones.views.memory import Work, footprint


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@torch.no_grad()
def assert_same_under_every_default(run: Callable[[], list[Tensor]]) -> None:
    expected = run()
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        with default(dtype):
            found = run()
        for one, other in zip(expected, found, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other), dtype


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny", "da3nested-tiny"])
def test_networks_answer_the_same_bits(name: str) -> None:
    backbone = load_backbone(name, weights="random")
    images = torch.rand(1, 3, 3, 28, 42)

    def run() -> list[Tensor]:
        found = backbone(images)
        return [found.depth, found.world_to_camera, found.intrinsics]

    assert_same_under_every_default(run)


def test_tracks_end_on_the_same_pixels() -> None:
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
        return [images, torch.tensor([found.inputs, found.total("cpu")])]

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
