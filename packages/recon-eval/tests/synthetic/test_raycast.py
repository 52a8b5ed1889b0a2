"""Rays meet what they should: against surfaces, against trying everything, and as photographs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from recon_eval.synthetic import draw_world
from recon_eval.synthetic.raycast import convex, fields, ground, photograph, tiles, trace
from recon_eval.synthetic.raycast.stage import Stage, make_stage
from recon_eval.synthetic.raycast.texture import albedo
from recon_eval.synthetic.raycast.tiles import Pairs, Rays, from_tiles, to_tiles
from recon_eval.synthetic.worlds import world as w
from recon_eval.synthetic.worlds.parts import Parts, turn

SHAPES = {
    w.CONE: (0.3,),
    w.BLOB: (0.3, 0, 0, 0.5, -0.3, 0.2, 0, 0.4, 0, -0.4, 0.2, 0.4, 0, 0.3, -0.3, 0.5),
    w.TORUS: (0.3,),
    w.PILLOW: (0.4,),
    w.TWIST: (0.6,),
}


def inside(kind: int, points: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """Whether points are inside a convex unit shape, by its definition."""
    x, y, z = points.unbind(-1)
    if kind == w.BOX:
        return (points.abs() <= 1).all(-1)
    if kind == w.BALL:
        return points.norm(dim=-1) <= 1
    if kind == w.CONE:
        side = (1 + shape[..., 0]) / 2 + y * (1 - shape[..., 0]) / 2
        return (y.abs() <= 1) & (torch.hypot(x, z) <= side)
    return (z.abs() <= 1) & (y <= 1) & (y >= 2 * x.abs() - 1)


@pytest.mark.parametrize("kind", trace.CONVEX)
@pytest.mark.parametrize("top", [0.0, 0.4, 1.0])
def test_a_span_is_the_inside_of_its_shape(kind: int, top: float) -> None:
    torch.manual_seed(0)
    origin, direction = 3 * torch.randn(1, 4000, 3), torch.randn(1, 4000, 3)
    shape = torch.full((1, 16), top)
    enter, leave = convex.span(kind, origin, direction, shape)
    for share in (0.01, 0.5, 0.99):
        at = enter + share * (leave - enter)
        found = inside(kind, origin + at[..., None] * direction, shape)
        assert bool(found[enter < leave - 1e-3].all())
    beyond = torch.linspace(-8, 8, 161)[:, None, None]
    touched = inside(kind, origin + beyond[..., None] * direction, shape)
    within = (beyond > enter - 1e-3) & (beyond < leave + 1e-3)
    assert not bool((touched & ~within).any())
    assert int((enter < leave).sum()) > 100


@pytest.mark.parametrize("kind", trace.FIELDS)
def test_a_walk_ends_on_the_surface_and_jumps_over_nothing(kind: int) -> None:
    torch.manual_seed(0)
    origin = 3 * torch.nn.functional.normalize(torch.randn(3000, 3), dim=-1)
    direction = 0.4 * (0.8 * torch.randn(3000, 3) - origin)
    shape = torch.zeros(1, 16)
    shape[0, : len(SHAPES[kind])] = torch.tensor(SHAPES[kind])
    shape = shape.expand(3000, -1)
    at = fields.walk(kind, origin, direction, shape, torch.zeros(3000))
    hit = at.isfinite()
    assert int(hit.sum()) > 300
    points = origin + at.nan_to_num(posinf=0)[:, None] * direction
    assert float(fields.distance(kind, points[hit], shape[hit]).abs().max()) < 2e-3
    for share in torch.linspace(0, 0.98, 50):
        before = origin + share * at.clamp_max(6)[:, None] * direction
        gap = fields.distance(kind, before, shape)
        assert float(gap[hit].min()) > -2e-3
        assert float(gap.min()) > -0.04  # what is missed was only grazed


@pytest.mark.parametrize("kind", [*trace.CONVEX, *trace.FIELDS])
def test_normals_are_those_of_the_surface(kind: int) -> None:
    """The ray's hit moves with the ray as the tangent plane says."""
    torch.manual_seed(1)
    shape = torch.zeros(1, 16)
    given = SHAPES.get(kind, (0.0,))
    shape[0, : len(given)] = torch.tensor(given)
    origin = 3 * torch.nn.functional.normalize(torch.randn(400, 3), dim=-1)
    direction = torch.nn.functional.normalize(0.4 * torch.randn(400, 3) - origin, dim=-1)
    aside = torch.cross(direction, torch.randn(400, 3), dim=-1)

    def hit(start: torch.Tensor) -> torch.Tensor:
        many = shape.expand(400, -1)
        if kind in trace.FIELDS:
            return fields.walk(kind, start, direction, many, torch.zeros(400))
        enter, leave = convex.span(kind, start[:, None], direction[:, None], many)
        return torch.where(enter < leave, enter, torch.inf)[:, 0]

    step = 0.02 if kind in trace.FIELDS else 1e-3
    one, other = (hit(origin + sign * step * aside) for sign in (-1, 1))
    middle = hit(origin)
    smooth = (one + other - 2 * middle).abs() < 0.2 * step  # no edge in between
    make = convex.normals if kind in trace.CONVEX else fields.normals
    points = (origin + middle.nan_to_num(posinf=0)[:, None] * direction)[smooth]
    normal = torch.nn.functional.normalize(
        make(kind, points, shape.expand(len(points), -1)), dim=-1
    )
    assert len(normal) > 60
    assert bool(((normal * direction[smooth]).sum(-1) < 0.05).all())  # outward
    chord = 2 * step * aside[smooth] + (other - one)[smooth, None] * direction[smooth]
    slip = (chord * normal).sum(-1).abs() / chord.norm(dim=-1)
    assert float(slip.median()) < 0.05


def stage_and_rays(seed: int = 3) -> tuple[Stage, Rays]:
    drawn = [draw_world(np.random.default_rng([seed, i])) for i in range(2)]
    stage = make_stage(drawn, torch.device("cpu"))
    poses = torch.cat([world.cameras.camera_to_world[:2] for world in drawn])
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 48), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    direction = to_tiles(torch.einsum("vij,yxj->vyxi", poses[:, :, :3], pixels))
    each = len(direction) // 4
    scene = torch.tensor([0, 0, 1, 1]).repeat_interleave(each)
    origin = poses[:, :, 3].repeat_interleave(each, dim=0)
    return stage, Rays(
        origin=origin, direction=direction, scene=scene, pixel=torch.full((4 * each,), 0.05)
    )


def everything(scene: torch.Tensor, stage: Stage, _meets: Callable[..., object]) -> Pairs:
    tile, solid = (scene[:, None] == stage.scene).nonzero(as_tuple=True)
    return Pairs(tile=tile, solid=solid)


@pytest.mark.parametrize("seed", range(4))
def test_tiles_leave_out_no_solid_that_is_hit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, rays = stage_and_rays(seed)
    at, solid = trace.first_hit(rays, stage)
    reach = at.nan_to_num(posinf=5.0)
    points = rays.origin[:, None] + 0.999 * reach[..., None] * rays.direction
    light = stage.light.position[rays.scene]
    shaded = trace.is_shaded(points, light, rays.scene, stage)
    fewer = len(tiles.seen_by(rays, stage).tile)
    monkeypatch.setattr(tiles, "_pairs", everything)
    assert fewer < 0.7 * len(tiles.seen_by(rays, stage).tile)
    all_at, all_solid = trace.first_hit(rays, stage)
    torch.testing.assert_close(at, all_at, rtol=1e-5, atol=1e-5)
    assert float((solid == all_solid).float().mean()) > 0.999
    assert torch.equal(shaded, trace.is_shaded(points, light, rays.scene, stage))


def test_hills_are_met_on_their_surface_and_never_jumped() -> None:
    drawn = draw_world(np.random.default_rng(1), places=("terrain",))
    stage = make_stage([drawn], torch.device("cpu"))
    pose = drawn.cameras.camera_to_world[:1]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    direction = to_tiles(torch.stack([x, y, torch.ones_like(x)], -1)[None] @ pose[0, :, :3].T)
    many = len(direction)
    rays = Rays(
        origin=pose[:, :, 3].expand(many, -1),
        direction=direction,
        scene=torch.zeros(many, dtype=torch.long),
        pixel=torch.ones(many),
    )
    at = ground.ground_hit(rays, stage)[0].flatten()
    ahead = direction.flatten(0, 1)
    hit = at.isfinite()
    assert 0.1 < float(hit.float().mean()) < 1
    waves = stage.ground.waves.expand(int(hit.sum()), -1, -1)
    start = pose[0, :, 3]
    below = ground.below(waves, start + at[hit, None] * ahead[hit])
    assert float(below.abs().max()) < 0.1
    for share in torch.linspace(0, 0.99, 100):
        deep = ground.below(waves, start + share * at[hit, None] * ahead[hit])
        assert float(deep.max()) < 0.1


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (5, 33)])
def test_images_survive_being_cut_into_tiles(height: int, width: int) -> None:
    image = torch.randn(3, height, width, 2)
    assert torch.equal(from_tiles(to_tiles(image), 3, height, width), image)


def test_a_pattern_finer_than_a_pixel_is_its_mean() -> None:
    rng = np.random.default_rng(0)
    parts = Parts(rng)
    for pattern in range(9):
        parts.material(pattern)
    materials = parts.tensors()[1]
    places = 5 * torch.randn(9 * 500, 3)
    numbers = torch.arange(9).repeat_interleave(500)
    up = torch.tensor([0.0, -1.0, 0.0]).expand(len(places), -1)
    near, far = (
        albedo(materials, numbers, places, up, torch.full((len(places),), width)).view(9, 500, 3)
        for width in (1e-4, 1e3)
    )
    assert float(far.std(1).max()) < 1e-5
    assert float(near.std(1)[1:].amin(0).max()) > 0.01


def lens(views: int, **changes: float) -> w.Lens:
    none = torch.zeros(views)
    plain = w.Lens(
        exposure=none + 1,
        white=torch.ones(views, 3),
        gamma=none + 1,
        vignette=none,
        blur=none,
        motion=torch.zeros(views, 2),
        noise=none,
        quality=none + 100,
        seed=torch.arange(views),
    )
    return replace(plain, **{name: none + value for name, value in changes.items()})


def test_a_perfect_lens_changes_nothing() -> None:
    images = torch.rand(2, 3, 20, 30)
    torch.testing.assert_close(photograph.photograph(images.clone(), lens(2)), images)


@pytest.mark.parametrize(
    "fault",
    [{"blur": 9.0}, {"noise": 0.05}, {"vignette": 0.3}, {"exposure": 1.3}, {"quality": 50.0}],
)
def test_each_fault_changes_images_and_each_view_alone(fault: dict[str, float]) -> None:
    images = torch.rand(2, 3, 24, 24)
    together = photograph.photograph(images.clone(), lens(2, **fault))
    alone = photograph.photograph(images[:1].clone(), lens(1, **fault))
    assert float((together - images).abs().mean()) > 0.005
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)


def test_lower_quality_is_further_from_the_original_and_gray_stays_gray() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    smooth = torch.stack([x, y, 0.5 + 0.3 * torch.sin(20 * x * y)])[None]
    errors = [
        float((photograph.jpeg(smooth, torch.tensor([q])) - smooth).abs().mean())
        for q in (95.0, 70.0, 20.0)
    ]
    assert errors[0] < errors[1] < errors[2] < 0.1
    gray = torch.full((1, 3, 16, 16), 0.5)
    torch.testing.assert_close(photograph.jpeg(gray, torch.tensor([60.0])), gray, rtol=0, atol=0.01)


def test_turns_are_rotations() -> None:
    about = turn(0.3, -0.2, 1.1)
    np.testing.assert_allclose(about @ about.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(about) == pytest.approx(1)
