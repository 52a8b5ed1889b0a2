"""What comes out of the network as no number is refused by name, and never written as a result."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon_backbones import Backbone, InputError, Masks, Prediction, to_metric
from recon_backbones.geometry.one_camera import fit_one_camera, fit_square_pixels
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.views.masks import keep_pixels
from recon_backbones.views.plan import Plan
from recon_backbones.views.run import Views, run_plan

from .short import short

IMAGES = torch.linspace(0, 1, 6)[:, None, None, None].expand(6, 3, 28, 42)


@pytest.fixture
def backbone() -> Backbone:
    return short("da3-tiny")


def spoil(
    backbone: Backbone, part: str, views: list[int], *, pixels: int | None = None,
    value: float = float("nan"),
) -> None:  # fmt: skip
    """Let a part of what is predicted of some of IMAGES be no number, or some pixels of it."""
    forward, marked = backbone.forward, IMAGES[views, 0, 0, 0]

    def spoiled(images: Tensor, **options: Any) -> Prediction:
        found = forward(images, **options)
        values = getattr(found, part).clone()
        values[torch.isin(images[:, :, 0, 0, 0], marked), :pixels] = value
        return replace(found, **{part: values})

    backbone.forward = spoiled  # type: ignore[method-assign]


@pytest.mark.parametrize("window", [6, 4])
@pytest.mark.parametrize("part", ["world_to_camera", "intrinsics", "depth"])
def test_views_without_a_finite_camera_or_any_depth_are_named(
    backbone: Backbone, part: str, window: int
) -> None:
    spoil(backbone, part, [2, 3])
    plan = Plan(views=6, window=window, overlap=1)
    with pytest.raises(InputError, match=r"views 3, 4: .* in float32; .*: take other weights, or"):
        run_plan(backbone, Views(images=IMAGES), plan)


def test_sixteen_bits_have_a_way_out_of_their_own(backbone: Backbone) -> None:
    half = backbone.to(torch.bfloat16)
    spoil(half, "depth", [0])
    with pytest.raises(InputError, match=r"view 1: .* in bfloat16; .*: use float32 \(prec"):
        run_plan(half, Views(images=IMAGES), Plan(views=6, window=6, overlap=1))


def test_views_are_counted_over_all_windows(backbone: Backbone) -> None:
    spoil(backbone, "world_to_camera", [5])
    with pytest.raises(InputError, match=r"view 6: camera or depth came out as no number"):
        run_plan(backbone, Views(images=IMAGES), Plan(views=6, window=4, overlap=1))


def test_a_hole_in_the_depth_of_a_view_is_no_reason_to_refuse_it(backbone: Backbone) -> None:
    spoil(backbone, "depth", [2], pixels=9)
    made = run_plan(backbone, Views(images=IMAGES), Plan(views=6, window=6, overlap=1))
    rows = made.prediction.depth[0].isfinite().all(dim=2).sum(dim=1)
    assert rows.tolist() == [28, 28, 19, 28, 28, 28]


def test_where_no_pixel_has_a_depth_no_mask_is_blamed() -> None:
    nothing = torch.full((1, 2, 8, 8), float("nan"))
    found = Prediction(
        depth=nothing,
        depth_conf=torch.ones(1, 2, 8, 8),
        world_to_camera=torch.eye(4)[:3].expand(1, 2, 3, 4),
        intrinsics=torch.eye(3).expand(1, 2, 3, 3),
    )
    pictures, seen = np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 8), dtype=bool)
    with pytest.raises(InputError, match="no pixel of the photos has a depth"):
        keep_pixels(found, pictures, seen, Masks())


def test_a_pixel_whose_confidence_is_no_number_is_dropped_and_not_counted() -> None:
    sure = torch.ones(1, 1, 8, 8)
    sure[..., :4, :] = float("nan")
    found = Prediction(
        depth=torch.ones(1, 1, 8, 8),
        depth_conf=sure,
        world_to_camera=torch.eye(4)[:3].expand(1, 1, 3, 4),
        intrinsics=torch.eye(3).expand(1, 1, 3, 3),
    )
    options = Masks(confidence_percentile=60.0)
    kept = keep_pixels(
        found, np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 8, 8), dtype=bool), options
    )
    assert kept[0].all(axis=1).tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [2, 28])
def test_confidence_that_is_no_number_leaves_the_camera_alone(value: float, rows: int) -> None:
    lens = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]]).expand(2, 3, 3)
    sure = torch.ones(2, 28, 42)
    sure[1, :rows] = value
    maps = [PixelMap(photo=(28, 42), size=(28, 42))] * 2
    torch.testing.assert_close(fit_square_pixels(lens, sure, maps), lens.double())
    assert fit_one_camera(lens, sure, maps).single.tolist() == pytest.approx([40, 40])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["depth", "depth_conf"])
def test_windows_are_joined_by_what_is_a_number(
    backbone: Backbone, part: str, value: float
) -> None:
    plan = Plan(views=6, window=4, overlap=2)
    whole = run_plan(backbone, Views(images=IMAGES), plan).joins[0].similarity
    spoil(backbone, part, [2, 3], pixels=4, value=value)
    joined = run_plan(backbone, Views(images=IMAGES), plan).joins[0].similarity
    assert joined.scale == pytest.approx(whole.scale, rel=0.02)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("spoiled", ["scene", "meters"])
def test_meters_come_from_what_is_a_number(spoiled: str, value: float) -> None:
    depth, sky = 1 + torch.rand(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    sky[:, 0, :3], meters = 1.0, 300 * 2 * depth
    holed = depth if spoiled == "scene" else meters
    holed[:, 1, 5:] = value
    poses, lens = torch.eye(4)[:3].expand(1, 2, 3, 4), torch.eye(3).expand(1, 2, 3, 3)
    scene = Prediction(
        depth=depth, depth_conf=torch.ones_like(depth), world_to_camera=poses, intrinsics=lens
    )
    metric = to_metric(scene, meters, sky)
    torch.testing.assert_close(metric.depth[:, 1, :5], 2 * depth[:, 1, :5])
    assert metric.depth[:, 0].isfinite().all()
