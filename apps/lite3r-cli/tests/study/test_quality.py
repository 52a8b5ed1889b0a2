"""`lite3r bench quality`: what is measured, taught, kept and said."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lite3r.bench.scenes import photo_sets, told_apart
from lite3r.shell.words import Words
from lite3r.study.candidates import (
    BESIDE_TAUGHT,
    FULL,
    STUDY,
)
from lite3r.study.quality import Question, _masses
from lite3r.study.taught import TAUGHT, taught
from lite3r.study.verdict import PARTS
from recon_backbones import Backbone, load_backbone
from recon_eval.data import Scene
from recon_eval.report import Kept

SCENES = ("--scenes", "2", "--views", "2", "--size", "56", "--weights", "random")
SEEN = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
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
