"""What is there is kept: nothing is overwritten unasked, and never what another wrote."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill.resume.hold import held_alone
from lite3r.distillation.folder import begin
from recon_eval.report import Kept


@pytest.fixture
def run(lite3r: Any, finished: Any) -> Path:
    """A finished tiny run."""
    return Path(finished.copied())


def test_existing_run_is_kept(lite3r: Any, finished: Any) -> None:
    finished.copied("runs/da3-tiny")
    before = Path("runs/da3-tiny/adapter.safetensors").read_bytes()
    lite3r.distill().refuses("holds an earlier run", "--resume", "--overwrite")
    lite3r.distill("--seed", "1", "--resume").refuses("seed: 0 in the run, 1 now")
    lite3r.distill("--weights", "no.safetensors", "--overwrite").refuses("not exist")
    assert Path("runs/da3-tiny/adapter.safetensors").read_bytes() == before
    assert lite3r.distill("--seed", "1", "--overwrite", "--quiet").code == 0
    assert Path("runs/da3-tiny/adapter.safetensors").read_bytes() != before


def test_a_run_that_is_at_work_is_kept(lite3r: Any) -> None:
    with held_alone(Path("run"), writes=True):
        lite3r.distill("--out", "run").refuses("another run is at work in it")
        assert not list(Path("run").iterdir())


def test_a_run_that_ended_since_the_folder_was_seen_is_kept(
    lite3r: Any, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def later(folder: Path, *, writes: bool) -> Iterator[None]:
        finished.copied(folder)
        yield

    monkeypatch.setattr("lite3r.commands.distill.held_alone", later)
    lite3r.distill("--out", "run").refuses("holds an earlier run", "--resume", "--overwrite")
    assert Path("run/report.json").exists()


def test_a_refused_run_leaves_no_folder(lite3r: Any) -> None:
    lite3r.distill("--weights", "no.safetensors", "--out", "new/run").refuses("not exist")
    assert not Path("new").exists()


def test_a_folder_of_something_else_is_never_replaced(lite3r: Any) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    for word in ("--overwrite", "--resume"):
        lite3r.distill("--out", "mine", word).refuses("no run of lite3r", "thesis.tex")
    assert Path("mine/thesis.tex").read_text() == "years of work"


def test_hidden_work_of_others_is_never_replaced(lite3r: Any) -> None:
    for name in (".git/HEAD", ".venv/pyvenv.cfg"):
        Path("mine", name).parent.mkdir(parents=True)
        Path("mine", name).write_text("years of work")
        lite3r.distill("--out", "mine").refuses("no run of lite3r", name.split("/")[0])
        assert Path("mine", name).read_text() == "years of work"


def test_what_a_file_browser_or_a_killed_run_left_is_no_work_of_others(lite3r: Any) -> None:
    for name in (".DS_Store", ".run.json.abc123"):
        Path("mine").mkdir(exist_ok=True)
        Path("mine", name).write_text("")
    assert lite3r.distill("--out", "mine", "--quiet").code == 0


def test_existing_output_is_kept(lite3r: Any, photos: Path) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    words = ("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    lite3r(*words).refuses("exists already", "--overwrite")
    assert [p.name for p in Path("out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "what"), [(("export", "run"), "export"), (("data", "make"), "folder of drawn scenes")]
)
def test_overwrite_replaces_only_what_the_same_command_wrote(
    lite3r: Any, run: Path, words: tuple[str, ...], what: str
) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    out = ("--out",) if words[0] == "export" else ()
    lite3r(*words, *out, "mine", "--overwrite").refuses(f"is no {what}", "thesis.tex")
    lite3r(*words, *out, run, "--overwrite").refuses(f"is no {what}", "adapter.safetensors")
    lite3r(*words, *out, "mine/thesis.tex", "--overwrite").refuses("is a file")
    assert Path("mine/thesis.tex").read_text() == "years of work"


def test_a_student_is_not_replaced_by_its_graph(lite3r: Any, run: Path) -> None:
    assert lite3r("export", run, "--out", "light").code == 0
    for out in ("light", "./light/../light"):
        words = ("light", "--kind", "onnx", "--out", out, "--overwrite")
        lite3r("export", *words).refuses("would be lost")
    assert {path.name for path in Path("light").iterdir()} == {"config.json", "model.safetensors"}


def test_what_was_written_before_is_replaced(lite3r: Any, run: Path) -> None:
    for words in (
        ("export", run, "--out", "light"),
        ("data", "make", "scenes", "--scenes", "1", "--views", "2", "--size", "28"),
    ):
        assert lite3r(*words).code == 0
        again = lite3r(*words, "--overwrite")
        assert again.code == 0, again.err


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--weights", "random", "--out", "a.json"),
        ("bench", "speed", "--out", "a.json"),
        ("bench", "quality", "--out", "a.json"),
        ("bench", "plot", "results.json", "--out", "a.svg"),
        ("view", "scene", "--html", "a.html"),
    ],
)
def test_a_folder_where_a_file_must_go_is_found_before_the_work(
    lite3r: Any, words: tuple[str, ...]
) -> None:
    Path(words[-1]).mkdir()
    lite3r(*words, "--overwrite").refuses(f"{words[-1]} is a folder", "name a file in it")


def test_results_that_are_there_are_kept(lite3r: Any, photos: Path) -> None:
    for name in ("a.json", "a.svg", "t/recipe.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("mine")
    lite3r("eval", "--weights", "random", "--out", "a.json").refuses("exists already")
    lite3r("bench", "quality", "--out", "a.json").refuses("a.json holds no results")
    Path("a.json").unlink()
    lite3r("bench", "quality", "--out", "a.json").refuses("a.svg exists already")
    lite3r("tune", "--data", photos, "--out", "t").refuses("t/recipe.json exists already")
    assert {p.read_text() for p in (Path("a.svg"), Path("t/recipe.json"))} == {"mine"}


def test_measurements_are_not_replaced_by_a_command_that_is_refused(
    lite3r: Any, photos: Path
) -> None:
    weights = ("--weights", "random", "--size", "56", "--overwrite")
    for name in ("t/measured.json", "quality.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("hours of work")
    lite3r("tune", "--data", photos, "--views", "4", "--out", "t", *weights).refuses("views=4")
    lite3r("bench", "quality", "--students", "nowhere", *weights).refuses("nowhere holds no")
    lite3r("bench", "quality", "--photos", "nowhere", *weights).refuses("nowhere does not exist")
    kept = (Path("t/measured.json"), Path("quality.json"))
    assert {path.read_text() for path in kept} == {"hours of work"}


def test_a_run_on_other_photos_at_the_same_time_is_refused(
    lite3r: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(teacher: Any, sets: Any, allowed: Any, kept: Kept, words: Any) -> None:
        Kept(kept.path, "lite3r tune", {"views": 9}).save()
        kept.save()

    monkeypatch.setattr("lite3r.commands.tune.tune", meanwhile)
    done = lite3r("tune", "--data", photos, "--weights", "random", "--size", "56", "--out", "t")
    done.refuses("t/measured.json; one file holds one setting", "choose another --out")
    assert json.loads(Path("t/measured.json").read_text())["setting"] == {"views": 9}


def test_data_make_keeps_what_is_there(lite3r: Any, run: Path) -> None:
    lite3r("data", "make", run).refuses("exists already")
    lite3r("data", "make", "scenes", "--scenes", "0").refuses("scenes=0")
    lite3r("data", "check", "nowhere").refuses("nowhere does not exist")


def test_a_run_goes_on_with_the_photos_that_it_began_with(lite3r: Any, photos: Path) -> None:
    """With another photo those held out would be others, some of which it has learned from."""
    assert lite3r.distill("--data", photos, "--out", "a", "--quiet").code == 0
    Path("a/report.json").unlink()  # as of a run that was stopped
    (photos / "0.jpg").write_bytes((photos / "2.jpg").read_bytes() + b"\n")  # no copy of it
    done = lite3r.distill("--data", photos, "--out", "a", "--resume")
    done.refuses("photos: '4 of digest", "in the run, '5 of digest", "choose another --out")
    (photos / "0.jpg").unlink()
    assert lite3r.distill("--data", photos, "--out", "a", "--resume", "--quiet").code == 0


@pytest.mark.parametrize("place", ["link", "."])
def test_a_run_takes_a_link_and_the_folder_it_is_started_in(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    Path("disk").mkdir()
    Path("link").symlink_to("disk")
    if place == ".":
        monkeypatch.chdir("disk")
    folder = Path(place)
    begin(folder, {"steps": 1})
    (folder / "training" / "checkpoints").mkdir(parents=True)
    (folder / "report.json").symlink_to("nothing")
    begin(folder, {"steps": 2})
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert json.loads((folder / "run.json").read_text()) == {"steps": 2}
