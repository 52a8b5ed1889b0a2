"""The bundled teacher's training: drawn scenes in one frame, a loop that goes on, exams."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill.resume.hold import held_alone
from lite3r.bench.quality import answer_of, predict
from lite3r.commands.pretrain import plan
from lite3r.options.pretrain import Pretrain
from lite3r.teacher.assess import assess
from lite3r.teacher.parts import FIGURES, check, parts
from recon_backbones import DenseAttention, load_backbone
from recon_backbones.training import (
    IGNORE,
    Run,
    Schedule,
    Targets,
    export_weights,
    make_targets,
    pupil_of,
    rays,
    train,
)
from recon_backbones.training.losses import depth_terms
from recon_eval.data import Scene, SyntheticScenes, SyntheticWorld
from recon_eval.exams import Exam
from recon_eval.synthetic import Batch

CYCLE = (
    Batch(height=28, width=42, views=3, scenes=2),
    Batch(height=28, width=28, views=1, scenes=3),
)
MADE = parts(CYCLE, world=0.5)
TINY = Exam(world="world", height=28, width=42, views=(2,), scenes=2, baselines=True)


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


def test_an_interrupted_training_ends_bit_equal_and_is_measured(tmp_path: Path) -> None:
    schedule = Schedule(steps=4, warmup=2, check_every=100, posed_every=3)
    whole = Run(folder=tmp_path / "whole", schedule=schedule)
    parted = replace(whole, folder=tmp_path / "parts", until=3)
    train(whole, MADE)
    train(parted, MADE)
    train(replace(parted, until=None), MADE)
    one, two = (load_file(run.folder / "state.safetensors") for run in (whole, parted))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one if name != "minutes")
    weights = tmp_path / "weights.safetensors"
    assert export_weights(whole.folder, weights) == 4
    backbone = load_backbone("da3-tiny", weights=weights)
    rows = list(assess(backbone, [TINY]))
    assert [row.predictor for row in rows][:3] == ["teacher", "each view alone", "constant depth"]
    assert rows[0].aspect_error is not None
    core = backbone.get_submodule(backbone.attention_sites()[3].name + ".core")
    assert type(core) is DenseAttention


def test_another_seed_shows_other_scenes() -> None:
    one, same, other = (
        parts(CYCLE, world=0.5, seed=seed).scenes(0, torch.device("cpu"))(0)["depth"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.nightly  # that two stay equal is shown where the loop is
def test_two_processes_draw_their_own_scenes(tmp_path: Path) -> None:
    schedule = Schedule(steps=1, warmup=2, check_every=100)
    train(Run(folder=tmp_path, schedule=schedule, processes=2), MADE)
    assert int(load_file(tmp_path / "state.safetensors")["step"]) == 1


@pytest.mark.parametrize(("name", "weights"), [("da3-tiny", "bundled"), ("vggt-tiny", "random")])
def test_a_look_while_it_trains_sees_what_the_exam_sees(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = TINY.load()
    monkeypatch.setattr("lite3r.teacher.parts._unseen", lambda: scenes)
    backbone = load_backbone(name, weights=weights)
    found = check(pupil_of(backbone))
    grade = TINY.grade("it", scenes, lambda scene: answer_of(predict(backbone, scene)))
    assert found == {name: pytest.approx(getattr(grade, name), rel=1e-3) for name in FIGURES}


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_pretraining_writes_weights_and_what_they_are_worth(
    name: str, lite3r: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite3r.commands.pretrain.cycle", lambda asked: CYCLE)
    monkeypatch.setattr("lite3r.commands.pretrain.all_exams", lambda scenes: [TINY])
    words = (
        "pretrain",
        "--backbone",
        name,
        "--from",
        "random",
        "--steps",
        "1",
        "--processes",
        "1",
        "--out",
        "p",
    )
    done = lite3r(*words, "--peak", "0.5", "--seed", "3")
    assert done.code == 0, done.err
    assert json.loads(Path("p/run.json").read_text())["seed"] == 3
    rows = json.loads(Path("p/teacher.json").read_text())["rows"]
    names = ["teacher", "each view alone", "constant depth", "teacher, own view only"]
    assert [row["predictor"] for row in rows] == names
    assert all(name in done.out for name in names)
    trained = load_backbone(name, weights=f"p/{name}.safetensors").state_dict()
    random = load_backbone(name, weights="random").state_dict()
    assert any(not torch.equal(trained[name], random[name]) for name in random)


def test_minutes_end_a_training_in_place_of_steps() -> None:
    schedule = plan(Pretrain(minutes=600.0)).schedule
    assert schedule.rate(4000, 60.0) == schedule.peak and not schedule.is_over(4000, 60.0)
    assert schedule.is_over(9, 600.0)


def test_a_training_that_strays_ends_in_a_sentence(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stray(run: Run, parts: object) -> None:
        raise FloatingPointError("gradient=nan; it must be finite: train at a lower peak")

    monkeypatch.setattr("lite3r.commands.pretrain.train", stray)
    done = lite3r("pretrain", "--out", "p")
    assert done.code == 2 and "lite3r: gradient=nan; it must be finite" in done.err


def test_two_trainings_in_one_folder_are_one_too_many(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite3r.commands.pretrain.train", lambda run, parts: pytest.fail("trains"))
    with held_alone(Path("p"), writes=True):
        lite3r("pretrain", "--out", "p").refuses("another run is at work in it")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backbone", "da3metric-tiny", "--from", "random"), "backbone='da3metric-tiny'; "),
        (("--from", "da3-tiny"), "start='da3-tiny'; a VGGT begins with"),
        (("--backbone", "da3-small"), "'da3-small' has no bundled weights"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    words: tuple[str, ...], said: str, lite3r: Any
) -> None:
    done = lite3r("pretrain", *words, "--out", "p")
    assert done.code == 2 and said in done.err
    assert not Path("p").exists()
