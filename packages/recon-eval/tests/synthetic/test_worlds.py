"""The rich world: exact, seeded, the same however it is rendered, at any size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.data import Scene, SyntheticWorld
from recon_eval.synthetic import PLACES, draw_world, render_worlds
from recon_eval.synthetic.raycast.render import intrinsics_of
from recon_eval.synthetic.worlds.world import MAX_VIEWS

places = pytest.mark.parametrize("place", list(PLACES))


def worlds(split: str = "test", *, place: str | None = None, **changes: int) -> SyntheticWorld:
    sizes = {"count": 6, "views": 3, "height": 48, "width": 64} | changes
    chosen = tuple(PLACES) if place is None else (place,)
    return SyntheticWorld(split, places=chosen, **sizes)  # type: ignore[arg-type]


def points_of(scene: Scene, view: int) -> torch.Tensor:
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None
    height, width = scene.depth.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    local = pixels @ torch.linalg.inv(scene.intrinsics[view]).T * scene.depth[view][..., None]
    camera = scene.world_to_camera[view]
    return (local - camera[:, 3]) @ camera[:, :3]


def seen_from(scene: Scene, view: int, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    assert scene.intrinsics is not None and scene.world_to_camera is not None
    camera = scene.world_to_camera[view]
    local = points @ camera[:, :3].T + camera[:, 3]
    pixels = local @ scene.intrinsics[view].T
    return pixels[..., :2] / pixels[..., 2:], local[..., 2]


@places
def test_what_one_view_sees_no_other_view_sees_through(place: str) -> None:
    through, agree, total = 0, 0, 0
    for scene in worlds(place=place, count=3, height=64, width=96):
        assert scene.depth is not None and scene.valid is not None
        for i, j in ((0, 1), (1, 2), (2, 0)):
            points = points_of(scene, i)[scene.valid[i]]
            pixels, z = seen_from(scene, j, points)
            x, y = pixels.floor().long().unbind(-1)
            inside = (z > 0.05) & (x >= 0) & (y >= 0) & (x < 96) & (y < 64)
            beyond = scene.depth[j][y[inside], x[inside]]
            beyond = torch.where(scene.valid[j][y[inside], x[inside]], beyond, math.inf)
            through += int((beyond > 1.25 * z[inside]).sum())
            agree += int(((beyond - z[inside]).abs() < 0.05 * z[inside]).sum())
            total += int(inside.sum())
    assert total > 1000
    assert through < 0.06 * total  # edges of thin things, half a pixel apart
    assert agree > 0.5 * total


@places
def test_depth_is_along_the_optical_axis(place: str) -> None:
    scene = worlds(place=place)[1]
    assert scene.depth is not None and scene.valid is not None
    for view in range(scene.num_views):
        pixels, z = seen_from(scene, view, points_of(scene, view))
        good = scene.valid[view]
        torch.testing.assert_close(z[good], scene.depth[view][good], rtol=1e-4, atol=1e-4)
        x = (torch.arange(64) + 0.5).expand(48, 64)
        torch.testing.assert_close(pixels[..., 0][good], x[good], rtol=0, atol=2e-2)


def test_sky_is_not_valid_and_rooms_have_none() -> None:
    for scene in worlds(place="room", count=4):
        assert scene.valid is not None and bool(scene.valid.all())
    skies = [scene for scene in worlds(place="yard", count=4)]
    assert all(scene.valid is not None and scene.depth is not None for scene in skies)
    assert any(not bool(scene.valid.all()) for scene in skies)  # type: ignore[union-attr]
    for scene in skies:
        assert bool((scene.depth[~scene.valid] == 0).all())  # type: ignore[index,operator]
        assert float(scene.depth[scene.valid].min()) > 0.02  # type: ignore[index]


@places
def test_images_are_finite_colors(place: str) -> None:
    for scene in worlds(place=place, count=3, views=2):
        assert bool(scene.images.isfinite().all())
        assert 0 <= float(scene.images.min()) <= float(scene.images.max()) <= 1
        assert float(scene.images.std()) > 0.01


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    first, again = worlds()[2], worlds()[2]
    assert torch.equal(first.images, again.images)
    longer = worlds(views=5, count=9)[2]
    torch.testing.assert_close(longer.images[:3], first.images, rtol=0, atol=2e-2)  # JPEG rounds
    assert longer.depth is not None and first.depth is not None
    torch.testing.assert_close(longer.depth[:3], first.depth, rtol=1e-4, atol=1e-3)


def test_splits_and_seeds_are_disjoint() -> None:
    drawn = [
        worlds(split, seed=seed).world(i)
        for split in ("train", "validation", "test")
        for seed in (0, 1)
        for i in range(3)
    ]
    assert len({float(world.light.ambient[0]) for world in drawn}) == len(drawn)


def test_scenes_rendered_together_equal_scenes_rendered_alone() -> None:
    data = SyntheticWorld("test", count=6, views=2, height=40, width=56, spoiled=False)
    together = data.scenes([0, 3, 5])
    for index, scene in zip([0, 3, 5], together, strict=True):
        alone = data[index]
        assert alone.name == scene.name
        assert alone.depth is not None and scene.depth is not None
        torch.testing.assert_close(scene.depth, alone.depth, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scene.images, alone.images, rtol=0, atol=1e-3)


@settings(max_examples=8, deadline=None)
@given(st.integers(9, 50), st.integers(9, 50), st.integers(0, 2**20))
def test_any_size_is_rendered_with_square_pixels(height: int, width: int, seed: int) -> None:
    world = draw_world(np.random.default_rng(seed))
    seen = render_worlds([world], [[0, 63]], height=height, width=width)
    assert seen.images.shape == (1, 2, 3, height, width)
    assert bool((seen.intrinsics[..., 0, 0] == seen.intrinsics[..., 1, 1]).all())
    assert bool(seen.images.isfinite().all())


def test_a_smaller_picture_shows_the_same_place() -> None:
    world = draw_world(np.random.default_rng(5), places=("room",))
    small, large = (render_worlds([world], [[0]], height=h, width=h) for h in (24, 72))
    middle = large.depth[..., 1::3, 1::3]  # centers of 3 x 3 pixels are centers of one
    close = ((small.depth - middle).abs() < 1e-3 * middle).float().mean()
    assert float(close) > 0.97


def test_fields_of_view_and_crops_stay_in_their_ranges() -> None:
    angles, shifts = [], []
    for seed in range(60):
        cameras = draw_world(np.random.default_rng([3, seed])).cameras
        assert len(cameras.focal) == MAX_VIEWS == 64
        angles.append(2 * torch.atan(1 / cameras.focal).rad2deg())
        shifts.append(cameras.shift.abs().amax())
        matrix = intrinsics_of(cameras, 30, 60)
        torch.testing.assert_close(matrix[:, 0, 0], 30 * cameras.focal)
    every = torch.cat(angles)
    assert float(every.min()) + 1e-3 >= 25 and float(every.max()) - 1e-3 <= 100
    assert float(every.max() - every.min()) > 40
    assert 0 < max(map(float, shifts)) <= 0.15
    assert sum(float(s) == 0 for s in shifts) > 30


def test_nobody_stands_inside_a_solid() -> None:
    for seed in range(20):
        world = draw_world(np.random.default_rng([4, seed]))
        centers = world.cameras.camera_to_world[:, None, :, 3]
        solids = world.solids
        local = torch.einsum("voi,oij->voj", centers - solids.center, solids.rotation)
        outside = (local.abs() - solids.size).clamp_min(0).norm(dim=-1)
        assert float(outside.min()) > 0.2


def test_neighboring_views_see_much_of_the_same() -> None:
    shares = []
    for scene in worlds(count=12, views=2, height=32, width=32):
        assert scene.valid is not None
        pixels, z = seen_from(scene, 1, points_of(scene, 0)[scene.valid[0]])
        shares.append(((z > 0) & (pixels > 0).all(-1) & (pixels < 32).all(-1)).float().mean())
    assert float(torch.stack(shares).mean()) > 0.4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"views": 0}, "views=0"),
        ({"views": 65}, "views=65"),
        ({"count": 0}, "count=0"),
        ({"height": 0}, "height=0"),
        ({"width": 5000}, "width=5000; scenes are drawn at up to 4096"),
        ({"seed": -1}, "seed=-1; it must be at least 0"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        worlds(**changes)  # type: ignore[arg-type]


def test_unknown_places_splits_and_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="known places: room"):
        worlds(place="moon")
    with pytest.raises(ValueError, match="known splits: train"):
        worlds("dev")
    with pytest.raises(IndexError, match="0 to 5"):
        worlds()[6]
