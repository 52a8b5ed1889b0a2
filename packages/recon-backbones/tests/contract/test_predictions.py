"""What every backbone answers: shapes, ranges, and the same in chunks, orders and types."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_backbones import Backbone, build_on_meta, load_backbone, preprocess

from .named import images_for, run


@torch.no_grad()
@pytest.mark.parametrize("views", [1, 2, 5])
def test_shapes_and_ranges(backbone: Backbone, views: int) -> None:
    images = images_for(backbone, views)
    out = run(backbone, images)
    assert out.depth.shape == out.depth_conf.shape == (1, views, *images.shape[-2:])
    assert out.world_to_camera.shape == (1, views, 3, 4)
    assert out.intrinsics.shape == (1, views, 3, 3)
    assert (out.depth > 0).all() and (out.depth_conf >= 1).all()
    rotation = out.world_to_camera[..., :3].double()
    identity = torch.eye(3).double().expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()
    half = torch.tensor([images.shape[-1] / 2, images.shape[-2] / 2])
    torch.testing.assert_close(out.intrinsics[0, 0, :2, 2], half)
    assert out.unproject().shape == (*out.depth.shape, 3)


@torch.no_grad()
def test_scenes_of_a_batch_do_not_meet(backbone: Backbone) -> None:
    one, two = images_for(backbone), images_for(backbone)
    both = run(backbone, torch.cat((one, two)))
    torch.testing.assert_close(both.depth[:1], run(backbone, one).depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.depth[1:], run(backbone, two).depth, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_head_chunks_change_nothing(backbone: Backbone) -> None:
    images = images_for(backbone, 5)
    whole, parts = (run(backbone, images, head_chunk=chunk) for chunk in (8, 2))
    torch.testing.assert_close(whole.depth, parts.depth, rtol=1e-5, atol=1e-6)


def test_an_order_is_left_however_its_block_ends(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(backbone, "set_token_order", seen.append)
    with pytest.raises(KeyboardInterrupt), backbone.in_token_order("tile8"):
        raise KeyboardInterrupt
    assert seen == ["tile8", "raster"]


@torch.no_grad()
@pytest.mark.parametrize("cells", [(9, 17), (16, 8), (3, 11)])
def test_tile_order_changes_nothing(backbone: Backbone, cells: tuple[int, int]) -> None:
    images = images_for(backbone, 3, cells)
    raster = run(backbone, images)
    with backbone.in_token_order("tile8"):
        tiled = run(backbone, images)
    for name in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
        a, b = getattr(tiled, name), getattr(raster, name)
        assert (a - b).abs().max() <= 1e-5 * b.abs().max(), name


@torch.no_grad()
def test_bfloat16_weights_and_autocast_stay_close(backbone: Backbone) -> None:
    images = images_for(backbone)
    exact = run(backbone, images)
    small = load_backbone(backbone.name, weights="random", seed=3, dtype=torch.bfloat16)
    half = run(small, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(backbone, images)
    for out in (half, cast):
        assert out.depth.dtype == out.world_to_camera.dtype == torch.float32
        assert ((out.depth - exact.depth).abs() / exact.depth).mean() < 0.02
        assert (out.world_to_camera - exact.world_to_camera).abs().max() < 0.05


@torch.no_grad()
def test_float64_weights_agree_with_float32(backbone: Backbone) -> None:
    images = images_for(backbone)
    double = load_backbone(backbone.name, weights="random", seed=3, dtype=torch.float64)
    exact, out = run(double, images.double()), run(backbone, images)
    assert ((out.depth - exact.depth).abs().max() / exact.depth.max()) < 1e-4


@torch.no_grad()
def test_shapes_can_be_had_without_computing(backbone: Backbone) -> None:
    images = images_for(backbone)
    empty = build_on_meta(backbone.name)
    out, full = run(empty, images.to("meta")), run(backbone, images)
    assert out.depth.is_meta and out.depth.shape == full.depth.shape


@torch.inference_mode()
def test_the_smallest_images_can_be_tracked_in() -> None:
    net = load_backbone("vggt-tiny", weights="random")
    assert net.track(torch.rand(1, 2, 3, 28, 28), torch.ones(1, 1, 2)).visibility.shape == (1, 2, 1)


@given(data=st.data())
@settings(max_examples=10)
def test_photos_of_any_size_run(backbone: Backbone, data: Any) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(30, 90), st.integers(30, 90)), max_size=2))
    photos = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8).numpy() for size in sizes]
    photos.append(torch.randint(0, 256, (64, 48, 3), dtype=torch.uint8).numpy())
    prepared = preprocess(photos, backbone, size=56)
    with torch.no_grad():
        out = run(backbone, prepared.images)
    back = prepared.depth_to_photos(out.depth)
    assert [tuple(d.shape) for d in back] == [p.shape[:2] for p in photos]
    assert back[-1].isfinite().any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_cuda_agrees_with_the_cpu(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    images = images_for(backbone, 4, (9, 10))
    here = run(backbone, images)
    far = load_backbone(backbone.name, weights="random", seed=3, device="cuda")
    there = run(far, images.cuda())
    for name in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
        a, b = getattr(there, name).cpu(), getattr(here, name)
        assert (a - b).abs().max() <= 1e-4 * b.abs().max(), name
