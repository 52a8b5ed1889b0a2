"""`lite3r tune` and `lite3r bench quality`: what is measured, chosen, kept and said."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from lite3r.bench.scenes import photo_sets, told_apart
from lite3r.shell.errors import UserError
from lite3r.shell.words import Words
from lite3r.student import recipe_file
from lite3r.student.recipes import Recipe
from lite3r.study.candidates import (
    BESIDE_TAUGHT,
    CHEAP,
    FULL,
    STUDY,
    around,
    but,
    few,
    halved,
)
from lite3r.study.judge import attention_mass, judge
from lite3r.study.prepare import alone, make
from lite3r.study.quality import Question, _masses
from lite3r.study.taught import TAUGHT, taught
from lite3r.study.tune import _measure, by_layer, tune
from lite3r.study.verdict import PARTS
from recon_backbones import Backbone, load_backbone
from recon_eval.ablation import Allowed
from recon_eval.data import Scene, SyntheticScenes
from recon_eval.report import Kept, Trials

SCENES = ("--scenes", "2", "--views", "2", "--size", "56", "--weights", "random")
SEEN = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def teacher() -> Backbone:
    return load_backbone("da3-tiny", weights="bundled")


@pytest.fixture(scope="module")
def sets() -> list[Scene]:
    drawn = SyntheticScenes("test", count=2, views=4, height=112, width=112)
    return [drawn[i] for i in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((56, 56)).save(tmp_path / f"{number}.png")
    return tmp_path


SOME = ("16 blocks, out", "16 blocks, attn, then W8A8", "tiles of 16, proj", "paper's set-up")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("rows", "lessons"),
    [
        ("study", ()),
        ("taught", SOME),
        pytest.param("taught", tuple(TAUGHT), marks=pytest.mark.nightly),
        pytest.param("full", tuple(TAUGHT), marks=pytest.mark.nightly),
    ],
)
def test_quality_measures_every_row_and_goes_on_where_it_was(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, rows: str, lessons: tuple[str, ...]
) -> None:
    taught_rows = {name: TAUGHT[name] for name in lessons}
    monkeypatch.setattr("lite3r.study.quality.TAUGHT", taught_rows)
    words = (*SCENES, "--rows", rows, "--steps", "1", "--out", "q.json")
    done = lite3r("bench", "quality", *words)
    assert done.code == 0, done.err
    assert ("steps=1 changes nothing: no row of study is trained" in done.err) == (rows == "study")
    before = json.loads(Path("q.json").read_text())
    names = {*lessons, *{"full": FULL, "study": STUDY, "taught": BESIDE_TAUGHT}[rows]}
    whole = {row["row"] for row in before["summary"] if "alone" not in row["row"]}
    assert whole == names
    assert all(row["scenes"] == 2 for row in before["summary"])
    assert len(before["verdict"]) > 1
    ElementTree.fromstring(Path("q.svg").read_text())
    assert lite3r("bench", "quality", *words).code == 0
    assert json.loads(Path("q.json").read_text())["measured"] == before["measured"]


def test_every_part_of_the_verdict_is_two_rows_that_are_measured() -> None:
    rows = {*FULL, *STUDY, *TAUGHT}
    assert {name for _, *pair in PARTS for name in pair} <= rows
    told = {name for _, *pair in PARTS for name in pair}
    assert set(TAUGHT) <= told


def test_a_row_is_taught_once_and_shared_by_those_that_differ_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = load_backbone("da3-tiny", weights="random")
    names = ("16 blocks, attn", "16 blocks, attn, then W8A8", "16 blocks, attn in W8A8")
    given: Any = {"folder": tmp_path, "size": 56, "seed": 0, "words": Words()}
    lessons = {
        name: replace(
            TAUGHT[name], training=replace(TAUGHT[name].training, steps=1, ema_decay=None)
        )
        for name in names
    }
    made = [taught(teacher, name, lessons[name], seen=SEEN, **given) for name in names]
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr("lite3r.study.taught.teach", None)  # nothing is taught again
    again = taught(teacher, names[0], lessons[names[0]], seen=SEEN, **given)
    with torch.no_grad():
        whole, rounded, within, same = (net(SEEN).depth for net in (*made, again))
    assert torch.equal(whole, same)
    changes = [float((one / whole - 1).abs().median()) for one in (rounded, within)]
    assert all(0 < change < 0.1 for change in changes)


def test_quality_refuses_a_file_of_another_setting(lite3r: Any) -> None:
    Kept(Path("q.json"), "lite3r bench quality", {"size": 224}).save()
    done = lite3r("bench", "quality", *SCENES, "--out", "q.json")
    assert (done.code, "add --overwrite" in done.err) == (2, True)


def test_attention_masses_are_measured_anew_with_other_views(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen(network: Any, scene: Scene) -> dict[str, dict[str, float]]:
        return {"3": {"kept": 0.1 * scene.num_views, "best": 1.0}}

    monkeypatch.setattr("lite3r.study.quality.attention_mass", seen)
    kept = Kept(None, "lite3r bench quality", {})
    kept.add("mass|row", "3", {"kept": 0.9, "best": 1.0})  # of a version that told no views
    for views, held in (((4,), 4), ((2,), 2), ((2, 16), 8)):
        asked = Question(rows="cheap", scenes=2, views=views, size=28, seed=0)
        _masses(asked, {"row": lambda: None}, kept)
        assert kept.find("mass|row", "3") == {"kept": 0.1 * held, "best": 1.0, "views": held}
    monkeypatch.setattr("lite3r.study.quality.attention_mass", None)  # nothing is measured again
    _masses(asked, {"row": lambda: None}, kept)


@pytest.mark.usefixtures("short")
def test_photos_are_a_judge_of_their_own(lite3r: Any, folder: Path) -> None:
    done = lite3r("bench", "quality", *SCENES, "--photos", folder, "--out", "q.json")
    assert done.code == 0, done.err
    rows = json.loads(Path("q.json").read_text())["summary"]
    photos = {row["row"]: row for row in rows if row["group"] == "photos"}
    assert photos["dense"]["depth_change"] == 0.0
    assert photos["tiles of 16"]["depth_change"] > 0.0
    assert photos["tiles of 16"]["abs_rel"] is None


def test_other_photos_of_the_same_names_are_other_sets(teacher: Backbone, folder: Path) -> None:
    before, again = (told_apart(photo_sets(folder, teacher, size=28, views=4)) for _ in range(2))
    Path(folder, "0.png").write_bytes(Path(folder, "1.png").read_bytes())
    other = told_apart(photo_sets(folder, teacher, size=28, views=4))
    assert before == again != other


@pytest.mark.usefixtures("short")
def test_a_student_trained_again_is_another_row(lite3r: Any, finished: Any) -> None:
    rows = set()
    words = ("bench", "quality", *SCENES, "--students", "light", "--out", "q.json")
    for steps in (1, 2):
        lite3r.distill("--steps", str(steps), "--out", "light", "--overwrite", "--quiet")
        done = lite3r(*words)
        assert done.code == 0, done.err
        found = json.loads(Path("q.json").read_text())["summary"]
        rows |= {row["row"] for row in found if row["row"].startswith("student light ")}
        assert len(rows) == steps
    for other in (("--backbone", "vggt-tiny"), ("--seed", "1")):
        lite3r(*words, *other, "--overwrite").refuses("students=light; its teacher must be")


@pytest.fixture
def broken(short: None) -> str:
    """A file of weights of which one layer is NaN."""
    network = load_backbone("da3-tiny", weights="random")
    weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
    weights[next(name for name in weights if name.endswith("attn.proj.weight"))].fill_(math.nan)
    save_file(weights, "broken.safetensors")
    return "broken.safetensors"


def test_a_student_that_answers_nan_is_named_as_a_row(lite3r: Any, finished: Any) -> None:
    path = finished.copied("light") / "adapter.safetensors"
    with safe_open(path, "pt") as adapter:
        told, names = adapter.metadata(), list(adapter.keys())
        weights = {n: torch.full_like(adapter.get_tensor(n), math.nan) for n in names}
    save_file(weights, path, told)
    done = lite3r("bench", "quality", *SCENES, "--students", "light", "--out", "q.json")
    done.refuses("row student light ", "2 views, scene 000: predicted: NaN")


def test_a_network_that_answers_nan_ends_every_study_in_a_sentence(
    lite3r: Any, folder: Path, broken: str
) -> None:
    how = ("--weights", broken, "--size", "56", "--views", "2", "--out")
    done = lite3r("tune", "--data", folder, *how, "t")
    done.refuses("the dense network: ", "NaN", "finite")
    done = lite3r("bench", "quality", *how, "q.json", "--scenes", "2")
    done.refuses("row dense, 2 views, scene 000: predicted: NaN")
    done = lite3r("distill", *how, "d", "--eval-scenes", "1", "--many-views", "0")
    done.refuses("teacher: no scene of synthetic can be measured", "predicted: NaN")


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
