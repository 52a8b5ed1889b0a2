"""`lite3r tune`: candidates, what is chosen of them, and recipe files."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from lite3r.shell.errors import UserError
from lite3r.shell.words import Words
from lite3r.student import recipe_file
from lite3r.student.recipes import Recipe
from lite3r.study.candidates import (
    CHEAP,
    around,
    but,
    few,
    halved,
)
from lite3r.study.judge import attention_mass, judge
from lite3r.study.prepare import alone, make
from lite3r.study.tune import _measure, by_layer, tune
from recon_backbones import Backbone
from recon_eval.ablation import Allowed
from recon_eval.data import Scene, SyntheticScenes
from recon_eval.report import Kept, Trials

SEEN = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def test_a_candidate_leaves_the_backbone_as_it_was(teacher: Backbone, sets: list[Scene]) -> None:
    _, before = judge(teacher, sets[0], None)
    tried = make(teacher, CHEAP["tiles of 16"], SEEN)
    figures, _ = judge(tried, sets[0], before)
    _, after = judge(teacher, sets[0], None)
    assert figures["depth_change"] > 1e-4
    assert figures["exact"] < 1
    assert torch.equal(before.depth, after.depth)


def test_no_choice_keeps_more_attention_mass_than_the_best(teacher: Backbone) -> None:
    candidates = {"few": few(8, opened=4), "all": but(keep=1.0)}
    scene = SyntheticScenes("test", count=1, views=8, height=112, width=112)[0]
    found = {n: attention_mass(make(teacher, c, SEEN), scene) for n, c in candidates.items()}
    assert len(found["few"]) == 4
    assert all(0 < f["kept"] < f["best"] < 1 for f in found["few"].values())
    assert all(f["kept"] == pytest.approx(1, abs=1e-5) for f in found["all"].values())


def test_each_layer_is_looked_at_alone(teacher: Backbone) -> None:
    layers = alone("64 blocks", few(64), teacher)
    assert len({candidate.site for candidate in layers.values()}) == len(layers) == 4
    assert "64 blocks, layer 3 alone" in layers


def test_tune_takes_the_cheapest_that_holds_on_what_was_held_out(
    teacher: Backbone, sets: list[Scene], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = [few(keep, opened=2) for keep in (4, 8)]
    monkeypatch.setattr("lite3r.study.tune.grid", lambda: iter(tried))
    monkeypatch.setattr("lite3r.study.tune.around", lambda candidate: iter(()))
    monkeypatch.setattr("lite3r.study.tune.by_layer", lambda *given: [])
    path = tmp_path / "measured.json"
    generous = Allowed(allow=1.0, allow_pose=1.0)
    found = tune(teacher, sets, generous, Kept(path, "lite3r tune", {}), Words())
    assert found.choice == tried[0]
    assert found.rows[0]["cost"] < found.rows[1]["cost"] < 1
    assert len(found.layers) == 4
    monkeypatch.setattr("lite3r.study.tune.make", None)  # nothing is measured again
    kept = Kept(path, "lite3r tune", {})
    assert tune(teacher, sets, generous, kept, Words()).choice == tried[0]


def test_what_was_held_out_decides(
    teacher: Backbone, sets: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = [few(keep) for keep in (4, 16, 32)]
    monkeypatch.setattr("lite3r.study.tune.grid", lambda: iter(tried))
    monkeypatch.setattr("lite3r.study.tune.around", lambda candidate: iter(()))
    monkeypatch.setattr("lite3r.study.tune.by_layer", lambda *given: [])
    monkeypatch.setattr("lite3r.study.tune.alone", lambda *given: {})
    kept = Kept(None, "lite3r tune", {})
    kept.document["dense_gflop"] = 4.0
    for cost, (candidate, changes) in enumerate(
        zip(tried, ((0.001, 0.02), (0.002, 0.009), (0.003, 0.001)), strict=True), start=1
    ):
        for scene, change in zip(sets, changes, strict=True):
            figures = {"depth_change": change, "pose_agreement": 0.9, "gflop": cost}
            kept.add(candidate.key, scene.name, figures | {"exact": 0.1, "seen": 0.2})
    assert (
        tune(teacher, sets, Allowed(allow=0.01, allow_pose=0.2), kept, Words()).choice == tried[1]
    )
    assert tune(teacher, sets, Allowed(allow=0.01, allow_pose=0.05), kept, Words()).choice is None
    kept.document["dense_gflop"] = 1.0  # nothing is cheaper
    assert tune(teacher, sets, Allowed(allow=0.01, allow_pose=0.2), kept, Words()).choice is None


def test_exact_blocks_are_shared_by_what_each_layer_needs(
    teacher: Backbone, sets: list[Scene], tmp_path: Path
) -> None:
    kept, candidate = Kept(tmp_path / "measured.json", "lite3r tune", {}), few(8, opened=2)
    sites = [s.name for s in teacher.attention_sites() if s.scope == "global"]
    changes = dict(zip([candidate, *halved(candidate, 4)], (0.1, 0.3, 0.1, 0.2, 0.1), strict=True))
    for one, change in changes.items():
        kept.add(one.key, sets[0].name, {"depth_change": change, "pose_agreement": 1.0})
    trials = Trials(kept, partial(_measure, teacher, SEEN, {}))
    *_, shared, fewer = by_layer(trials, candidate, teacher, sets[:1])
    first, second, third, last = shared.recipe.keeps
    assert first > third > second == last >= 1 and abs(sum(shared.recipe.keeps) - 32) <= 2
    assert abs(sum(fewer.recipe.keeps) - 24) <= 2
    network = make(teacher, shared, SEEN)
    made = [network.get_submodule(f"{name}.core").choice.keep for name in sites]
    assert tuple(made) == shared.recipe.keeps


@pytest.mark.usefixtures("short")
def test_tune_writes_recipe_table_and_plot(lite3r: Any, folder: Path) -> None:
    words = ("--data", folder, "--size", "56", "--weights", "random", "--out", "t")
    done = lite3r("tune", *words, "--allow", "1", "--allow-pose", "1")
    assert done.code == 0, done.err
    assert {p.name for p in Path("t").iterdir()} >= {"measured.json", "tune.md", "tune.svg"}
    ElementTree.fromstring(Path("t/tune.svg").read_text())
    assert "layer, alone sparse" in Path("t/tune.md").read_text()


def test_tune_with_other_views_of_the_same_photos_is_refused_by_these(
    lite3r: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(teacher: Any, sets: Any, allowed: Any, kept: Kept, words: Any) -> None:
        kept.save()
        raise UserError("enough")

    monkeypatch.setattr("lite3r.commands.tune.tune", keep)
    words = ("tune", "--data", photos, "--weights", "random", "--size", "28", "--out", "t")
    lite3r(*words, "--views", "2").refuses("enough")
    lite3r(*words, "--views", "3").refuses("views=3 differs from 2 in t/measured.json")
    words = (*words, "--views", "2", "--size", "42")
    lite3r(*words).refuses("size=42 differs from 28")


@pytest.mark.parametrize(("name", "value"), [("--allow", "0"), ("--allow-pose", "2")])
def test_tune_refuses_what_cannot_be_allowed(lite3r: Any, name: str, value: str) -> None:
    done = lite3r("tune", "--data", "photos", name, value)
    assert done.code == 2
    assert "it must be above 0" in " ".join(done.err.split())


def test_a_recipe_file_is_read_where_a_name_is(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    recipe_file.write(path, {"fp8": "none", "fp8_exclude": ("a", "b")}, note="for people")
    made = replace(Recipe(), fp8="none", fp8_exclude=("a", "b"))
    assert recipe_file.chosen(recipe=str(path)) == made
    assert recipe_file.chosen(recipe="sparse_only").fp8 == "none"
    for keep in (32, (32, 64, 16, 8)):
        recipe_file.write(path, {"keep": keep, "summary": (4, 64)})
        assert recipe_file.read(path) == replace(Recipe(), keep=keep, summary=(4, 64))


def test_around_a_candidate_nothing_costs_more() -> None:
    chosen = few(16, opened=24)
    near = list(around(chosen))
    assert len(near) == len({one.key for one in near}) == 4
    for one in near:
        assert one.recipe.keep == chosen.recipe.keep and one.recipe.block == chosen.recipe.block
        assert one.recipe.opened <= chosen.recipe.opened
        assert set(one.recipe.summary) <= set(chosen.recipe.summary)


def test_tuning_needs_a_set_that_is_held_out(lite3r: Any, photos: Path) -> None:
    words = ("tune", "--data", photos, "--weights", "random", "--size", "28")
    for views in ("3", "4"):  # half of three would be too few
        said = (f"views={views}; the photos make one set of so many, and", "take fewer views, or")
        lite3r(*words, "--views", views).refuses(*said)
    (photos / "1.png").unlink()
    lite3r(*words).refuses("it holds 3 photos: four are the fewest to tune on")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no recipe"),
        ('{"format": "lite3r-recipe/1", "recipe": {"kep": 1}}', "kep"),
    ],
)
def test_a_damaged_recipe_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        recipe_file.read(path)
