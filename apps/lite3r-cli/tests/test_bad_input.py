"""A user's mistake gives one sentence that says what to do, exit code 2, and loses nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


def refused(answer: Any, *parts: str) -> None:
    """The answer is a refusal that names every part, without a traceback."""
    text = " ".join(answer.err.replace("│", " ").split())
    assert answer.code == 2, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text, text


@pytest.mark.parametrize("keep", ["0", "1.5", "-0.5", "nan"])
def test_impossible_keep(lite3r: Any, keep: str) -> None:
    answer = lite3r.distill("--keep", keep)
    refused(answer, f"keep={keep}; it must be a fraction in (0, 1]", "number of key blocks")
    assert not Path("runs").exists()


def test_unknown_backbone_lists_the_known(lite3r: Any) -> None:
    refused(lite3r("distill", "--backbone", "da4"), "'da4' is unknown", "da3-tiny", "da3-giant")
    assert not Path("runs").exists()


def test_hub_weights_without_network(lite3r: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries of the Hub's library
    monkeypatch.setattr("logging.raiseExceptions", False)  # its log may be an earlier test's stderr
    answer = lite3r("distill", "--backbone", "da3-large")
    refused(answer, "depth-anything/DA3-LARGE", "CC BY-NC", "model.safetensors")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--steps", "-1"), ("steps=-1", "at least 0")),
        (("--many-views", "1"), ("many_views=1", "--many-views 0")),
        (("--size", "13"), ("size=13", "at least 14")),
        (("--views", "1"), ("views=1", "at least 2")),
        (("--recipe", "tiles", "--block", "0", "4"), ("block=(0, 4)", "powers of two")),
        (("--recipe", "fast", "--block", "64", "8"), ("block=(64, 8)", "smallest cells")),
        (("--recipe", "fast", "--steps", "9"), ("steps=9", "trainable=lora")),
        (("--set", "fp8_include=*.nothing.*"), ("*.nothing.*", "linear layer")),
        (("--resume", "--overwrite"), ("contradict",)),
        (("--device", "cuda"), ("no GPU",)),
        (("--fp8", "int4"), ("int4", "rowwise")),
    ],
)
def test_impossible_options(lite3r: Any, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(lite3r.distill(*words), *parts)
    assert not Path("runs").exists()


def test_existing_run_is_kept(lite3r: Any, finished: Any) -> None:
    finished.copied("runs/da3-tiny")
    before = Path("runs/da3-tiny/adapter.safetensors").read_bytes()
    refused(lite3r.distill(), "holds an earlier run", "--resume", "--overwrite")
    refused(lite3r.distill("--seed", "1", "--resume"), "seed: 0 in the run, 1 now")
    refused(lite3r.distill("--weights", "no.safetensors", "--overwrite"), "not exist")
    assert Path("runs/da3-tiny/adapter.safetensors").read_bytes() == before
    assert lite3r.distill("--seed", "1", "--overwrite", "--quiet").code == 0
    assert Path("runs/da3-tiny/adapter.safetensors").read_bytes() != before


def test_a_folder_of_something_else_is_never_replaced(lite3r: Any) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    for word in ("--overwrite", "--resume"):
        refused(lite3r.distill("--out", "mine", word), "no run of lite3r", "thesis.tex")
    assert Path("mine/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("command", ["distill", "reconstruct"])
def test_unwritable_output_is_found_before_the_work(
    lite3r: Any, photos: Path, command: str
) -> None:
    Path("file").write_text("")
    words = () if command == "distill" else (photos,)
    words += ("--weights", "random")
    refused(lite3r(command, *words, "--out", "/proc/run"), "cannot write in /proc")
    refused(lite3r(command, *words, "--out", "file/run"), "is a file, so")
    for folder in ("/proc/run", "file/run"):
        assert not Path(folder).exists()


def test_empty_folder(lite3r: Any) -> None:
    Path("empty").mkdir()
    refused(lite3r("reconstruct", "empty", "--weights", "random"), "holds no photo", "it is empty")
    refused(lite3r.distill("--data", "empty"), "holds no photo", ".jpg")
    assert not Path("runs").exists()


def test_folder_without_photos_says_what_it_holds(lite3r: Any) -> None:
    Path("docs").mkdir()
    Path("docs/notes.md").write_text("")
    refused(lite3r("reconstruct", "docs", "--weights", "random"), "notes.md", "photos end in")


def test_one_photo_is_too_few_to_learn_from(lite3r: Any, photos: Path) -> None:
    Path("one").mkdir()
    (photos / "1.png").rename("one/1.png")
    refused(lite3r.distill("--data", "one"), "names 1 photo", "at least 2")


def test_missing_input(lite3r: Any) -> None:
    refused(lite3r("reconstruct", "nowhere", "--weights", "random"), "nowhere does not exist")
    refused(lite3r("reconstruct", "no*.jpg", "--weights", "random"), "matches no file")
    refused(lite3r("eval", "--data", "nowhere", "--weights", "random"), "nowhere", "not exist")
    refused(lite3r.distill("--data", "nowhere"), "nowhere does not exist")


def test_broken_jpeg(lite3r: Any, photos: Path) -> None:
    whole = (photos / "10.jpg").read_bytes()
    (photos / "10.jpg").write_bytes(whole[: len(whole) // 2])
    answer = lite3r("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    refused(answer, "10.jpg", "broken")
    refused(lite3r.distill("--data", photos), "10.jpg", "broken")
    assert not Path("out").exists()


def test_text_named_jpg(lite3r: Any, photos: Path) -> None:
    (photos / "4.jpg").write_text("this is no picture")
    answer = lite3r("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    refused(answer, "4.jpg", "no JPEG")
    assert not Path("out").exists()


def test_existing_output_is_kept(lite3r: Any, photos: Path) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    words = ("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    refused(lite3r(*words), "exists already", "--overwrite")
    assert [p.name for p in Path("out").iterdir()] == ["mine.txt"]


@pytest.fixture
def run(lite3r: Any, finished: Any) -> Path:
    """A finished tiny run."""
    return Path(finished.copied())


def test_missing_student(lite3r: Any) -> None:
    refused(lite3r("eval", "--model", "nowhere"), "nowhere holds no student", "config.json")


def test_missing_adapter(lite3r: Any, run: Path) -> None:
    (run / "adapter.safetensors").unlink()
    refused(lite3r("eval", "--model", run), "adapter.safetensors does not exist")


def test_truncated_adapter(lite3r: Any, run: Path) -> None:
    whole = (run / "adapter.safetensors").read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        (run / "adapter.safetensors").write_bytes(whole[:length])
        refused(lite3r("eval", "--model", run), "adapter.safetensors is damaged")


def test_adapter_of_another_model_names_the_keys(lite3r: Any, run: Path) -> None:
    values = load_file(run / "adapter.safetensors")
    first, *rest = sorted(values)
    other = {name: values[name] for name in rest} | {"alien.weight": values[first]}
    save_file(other, run / "adapter.safetensors")
    refused(lite3r("eval", "--model", run), "another model", first, "alien.weight")
    save_file(values | {first: values[first][:1].copy()}, run / "adapter.safetensors")
    refused(lite3r("eval", "--model", run), "of another shape", first)


def test_other_teacher_weights(lite3r: Any, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["teacher"]["seed"] = 7
    (run / "config.json").write_text(json.dumps(config))
    refused(lite3r("eval", "--model", run), "distilled from other weights", "sha256")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}'])
def test_damaged_config(lite3r: Any, run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    refused(lite3r("eval", "--model", run), "config.json is")


def test_damaged_teacher_weights(lite3r: Any) -> None:
    Path("weights.safetensors").write_bytes(b"not safetensors")
    refused(lite3r("distill", "--weights", "weights.safetensors"), "no whole safetensors file")
    save_file({"a": np.zeros(2)}, "weights.safetensors")
    answer = lite3r("distill", "--weights", "weights.safetensors")
    refused(answer, "missing", "unexpected", "model.a")


def test_damaged_checkpoint_is_not_resumed(lite3r: Any, run: Path) -> None:
    (run / "report.json").unlink()
    for file in (run / "training").rglob("tensors.safetensors"):
        file.write_bytes(b"")
    refused(lite3r.distill("--out", run, "--resume"), "damaged", "remove this directory")


def test_export_refuses_what_it_cannot_do(lite3r: Any, run: Path) -> None:
    refused(lite3r("export", "nowhere", "--out", "light"), "holds no student")
    refused(lite3r("export", run, "--out", run), "exists already", "--overwrite")
    assert lite3r.distill("--out", "dense", "--fp8", "none", "--quiet").code == 0
    refused(lite3r("export", "dense", "--out", "light"), "fp8=none", "--fp8 rowwise")
    assert not Path("light").exists()


def test_data_make_keeps_what_is_there(lite3r: Any, run: Path) -> None:
    refused(lite3r("data", "make", run), "exists already")
    refused(lite3r("data", "make", "scenes", "--scenes", "0"), "scenes=0")
    refused(lite3r("data", "check", "nowhere"), "nowhere does not exist")
