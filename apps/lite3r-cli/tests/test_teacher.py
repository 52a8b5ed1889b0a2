"""Teacher training: targets in one frame, an optimizer with laws, a loop that goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lite3r.teacher.assess import Exam, OwnViewAttention, all_exams, assess
from lite3r.teacher.loop import Run, make_pupil, train_teacher, way
from lite3r.teacher.recipe import TeacherRecipe, larger, mixed_cycle, small_cycle
from lite3r.teacher.state import export_weights
from recon_backbones import DenseAttention, load_backbone
from recon_backbones.training import (
    IGNORE,
    WEIGHTS,
    Targets,
    Way,
    make_targets,
    rays,
    training_loss,
)
from recon_backbones.training.losses import depth_terms
from recon_eval.data import Scene, SyntheticScenes, SyntheticWorld
from recon_eval.synthetic import Batch, FreshScenes

CYCLE = (
    Batch(height=28, width=42, views=3, scenes=2),
    Batch(height=28, width=28, views=1, scenes=3),
)


def tiny_recipe(steps: int, **changes: float) -> TeacherRecipe:
    recipe = TeacherRecipe(cycle=CYCLE, steps=steps, warmup=2, check_every=100, posed_every=3)
    return replace(recipe, **changes)  # type: ignore[arg-type]


def targets_of(scene: Scene, scale: float = 1.0, turn: torch.Tensor | None = None) -> Targets:
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None and scene.valid is not None
    cameras = scene.world_to_camera[None]
    if turn is not None:
        shift = cameras[..., :3] @ torch.randn(3, 1) + cameras[..., 3:]
        cameras = torch.cat([cameras[..., :3] @ turn, scale * shift], dim=-1)
    return make_targets(
        scale * scene.depth[None], cameras, scene.intrinsics[None], scene.valid[None]
    )


@pytest.mark.parametrize("data", [SyntheticScenes, SyntheticWorld])
def test_targets_do_not_depend_on_world_frame_or_unit(data: type) -> None:
    scene = data("train", count=1, views=3, height=42, width=56)[0]
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    one, other = targets_of(scene), targets_of(scene, 2.5, turn * turn.det())
    torch.testing.assert_close(one.pose, other.pose, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-3, atol=1e-3)


def test_rays_meet_on_the_surface_that_matches_say_they_share() -> None:
    targets = targets_of(SyntheticScenes("train", count=1, views=2, height=112, width=112)[0])
    cast = rays(targets, 112, 112)[0]
    points = cast[..., 3:] + cast[..., :3] * targets.depth[0, ..., None]
    patches = points[:, 7::14, 7::14].flatten(1, 2)
    matched = targets.matches[0, 0, :, 1]
    seen = (matched != IGNORE).nonzero()[:, 0]
    apart = (patches[0, seen] - patches[1, matched[seen]]).norm(dim=-1)
    assert len(seen) > 10
    assert float(apart.median()) < 0.15  # within a patch of each other; the unit is the scene's


def test_sky_teaches_no_depth_and_matches_nothing() -> None:
    data = SyntheticWorld("train", count=9, views=2, height=56, width=56, places=("yard",))
    scene = next(s for s in data if s.valid is not None and not bool(s.valid.all()))
    assert scene.valid is not None and scene.depth is not None
    spoiled = replace(scene, depth=torch.where(scene.valid, scene.depth, 7.0))
    one, other = targets_of(scene), targets_of(spoiled)
    torch.testing.assert_close(one.depth, other.depth)
    assert torch.equal(one.matches, other.matches)
    guess = torch.randn(one.depth.shape)
    wrong = torch.where(one.valid, guess, 9.0)
    sure = torch.ones_like(guess)
    first, second = (depth_terms(g, sure, one.depth, one.valid) for g in (guess, wrong))
    assert float(first["depth"]) == pytest.approx(float(second["depth"]))
    assert float(first["gradient"]) == pytest.approx(float(second["gradient"]))


def test_the_rate_warms_up_stays_and_ends_at_zero() -> None:
    recipe = TeacherRecipe(cycle=CYCLE, steps=1000, peak=0.5)
    assert recipe.rate(0, 0.0) < 0.01
    assert recipe.rate(300, 0.0) == recipe.rate(500, 9.0) == 0.5
    assert 0 < recipe.rate(999, 0.0) < 0.01
    assert not recipe.is_over(999, 1e9) and recipe.is_over(1000, 0.0)


def test_a_run_of_some_minutes_ends_annealed_whatever_it_reached() -> None:
    recipe = TeacherRecipe(cycle=CYCLE, steps=10**6, minutes=10.0)
    assert recipe.rate(500, 3.0) == 1.0
    assert 0 < recipe.rate(501, 9.99) < 0.01
    assert recipe.is_over(502, 10.0)


def test_the_cycles_hold_what_the_recipe_promises() -> None:
    cycle = mixed_cycle()
    square = [b for b in cycle if b.height == b.width == 224]
    assert 0.5 < len(square) / len(cycle) < 0.8
    assert {1, 2, 4, 8, 16, 32} & {b.views for b in cycle} >= {2, 4, 8, 16, 32}
    assert {112, 336, 448} <= {b.height for b in cycle}
    assert any(b.width > b.height for b in cycle) and any(b.width < b.height for b in cycle)
    assert larger(small_cycle(), 3)[0].scenes == 3 * small_cycle()[0].scenes


@pytest.mark.parametrize(
    ("changes", "named"), [({"world": 1.5}, "world=1.5"), ({"peak": 0.0}, "peak=0")]
)
def test_impossible_recipes_are_refused(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny_recipe(3, **changes)
    with pytest.raises(ValueError, match="steps=0"):
        tiny_recipe(0)
    with pytest.raises(ValueError, match="cycle=30 pixels; sides must be multiples of 14"):
        TeacherRecipe(cycle=(Batch(height=30, width=28, views=1, scenes=1),), steps=1)


def test_more_processes_than_one_need_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="processes=2"):
        Run(folder=tmp_path, recipe=tiny_recipe(1), processes=2, device="cuda")


def test_each_part_of_the_loss_is_finite_and_reaches_the_network(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, recipe=tiny_recipe(2), start="random")
    pupil, _ = make_pupil(run)
    batch = FreshScenes(CYCLE).batch(0)
    for chosen in (Way(), Way(dense=False), Way(posed=True), Way(dense=False, posed=True)):
        loss, parts = training_loss(pupil, batch, chosen)
        assert set(parts) <= {*WEIGHTS, "matched", "total"}
        assert all(bool(value.isfinite()) for value in parts.values())
        pupil.zero_grad()
        loss.backward()
        block = pupil.network.backbone.pretrained.blocks[0]
        assert float(block.attn.qkv.weight.grad.float().norm()) > 0


def test_a_beginning_probe_does_not_pull_at_a_trained_network(tmp_path: Path) -> None:
    trained = Run(folder=tmp_path, recipe=tiny_recipe(2), start="bundled")
    assert way(trained, 1).detach and not way(trained, 999).detach
    assert not way(replace(trained, start="random"), 1).detach


def test_an_interrupted_training_ends_bit_equal_and_exports(tmp_path: Path) -> None:
    whole = Run(folder=tmp_path / "whole", recipe=tiny_recipe(5))
    parts = Run(folder=tmp_path / "parts", recipe=tiny_recipe(5), until=3)
    train_teacher(whole)
    train_teacher(parts)
    assert int(load_file(parts.folder / "state.safetensors")["step"]) == 3
    train_teacher(replace(parts, until=None))
    one, two = (load_file(run.folder / "state.safetensors") for run in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one if name != "minutes")
    first = json.loads((whole.folder / "log.jsonl").read_text().splitlines()[0])
    assert {"depth", "gradient", "pose", "match", "rays", "total"} <= first.keys()
    for averaged in (True, False):
        weights = tmp_path / f"{averaged}.safetensors"
        assert export_weights(whole.folder, weights, averaged=averaged) == 5
        backbone = load_backbone("da3-tiny", weights=weights)
    exam = Exam(world="world", height=28, width=42, views=(2,), scenes=2, baselines=True)
    rows = list(assess(backbone, [exam]))
    assert [row.predictor for row in rows][:3] == ["teacher", "each view alone", "constant depth"]
    assert rows[0].aspect_error is not None
    core = backbone.get_submodule(backbone.attention_sites()[3].name + ".core")
    assert type(core) is DenseAttention


def test_two_processes_stay_equal(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, recipe=tiny_recipe(2), processes=2)
    train_teacher(run)
    assert int(load_file(tmp_path / "state.safetensors")["step"]) == 2


def test_exams_cover_both_worlds_and_shapes_that_are_not_square() -> None:
    exams = all_exams(8)
    assert {e.world for e in exams} == {"rooms", "world"}
    assert any(e.height != e.width for e in exams)
    assert max(max(e.views) for e in exams) == 32
    with pytest.raises(ValueError, match="known worlds: rooms, world"):
        replace(exams[0], world="moon")


def test_own_view_attention_equals_dense_attention_for_one_view() -> None:
    q, k, v = (torch.randn(1, 2, 9, 8) for _ in range(3))
    alone = OwnViewAttention()(q, k, v, pinned=torch.tensor([0]))
    doubled = [torch.cat([t, t[:, :, :1]], dim=2) for t in (k, v)]
    torch.testing.assert_close(alone, DenseAttention()(q, *doubled))


def test_own_view_attention_does_not_see_other_views() -> None:
    q, k, v = (torch.randn(1, 2, 18, 8) for _ in range(3))
    pinned = torch.tensor([0, 9])
    before = OwnViewAttention()(q, k, v, pinned=pinned)
    v[:, :, 10:] += 1.0  # patches of the second view
    after = OwnViewAttention()(q, k, v, pinned=pinned)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.equal(before[:, :, 9:], after[:, :, 9:])
