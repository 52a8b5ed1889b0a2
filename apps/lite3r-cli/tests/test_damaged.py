"""Files of a run or of weights that are missing, damaged or of another model are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


@pytest.fixture
def run(lite3r: Any, finished: Any) -> Path:
    """A finished tiny run."""
    return Path(finished.copied())


def test_missing_student(lite3r: Any) -> None:
    lite3r("eval", "--model", "nowhere").refuses("nowhere holds no student", "config.json")


def test_missing_adapter(lite3r: Any, run: Path) -> None:
    (run / "adapter.safetensors").unlink()
    lite3r("eval", "--model", run).refuses("adapter.safetensors does not exist")


def test_truncated_adapter(lite3r: Any, run: Path) -> None:
    whole = (run / "adapter.safetensors").read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        (run / "adapter.safetensors").write_bytes(whole[:length])
        lite3r("eval", "--model", run).refuses("adapter.safetensors is damaged")


def test_adapter_of_another_model_names_the_keys(lite3r: Any, run: Path) -> None:
    values = load_file(run / "adapter.safetensors")
    first, *rest = sorted(values)
    other = {name: values[name] for name in rest} | {"alien.weight": values[first]}
    save_file(other, run / "adapter.safetensors")
    lite3r("eval", "--model", run).refuses("another model", first, "alien.weight")
    save_file(values | {first: values[first][:1].copy()}, run / "adapter.safetensors")
    lite3r("eval", "--model", run).refuses("of another shape", first)


def test_other_teacher_weights(lite3r: Any, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["teacher"]["seed"] = 7
    (run / "config.json").write_text(json.dumps(config))
    lite3r("eval", "--model", run).refuses("distilled from other weights", "sha256")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}'])
def test_damaged_config(lite3r: Any, run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    lite3r("eval", "--model", run).refuses("config.json")


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("recipe", "fp8_include", 3),
        ("recipe", "fp8_stored", ["*", 3]),
        ("recipe", "offsets", "yes"),
        ("recipe", "lora_rank", 2.5),
        ("recipe", "keep", None),
        ("teacher", "seed", "x"),
        ("teacher", "weights", 7),
    ],
)
def test_a_config_with_values_of_another_kind(
    lite3r: Any, run: Path, group: str, name: str, value: object
) -> None:
    config = json.loads((run / "config.json").read_text())
    config[group][name] = value
    for other in (config, config | {group: 3}, config | {"versions": 3}):
        (run / "config.json").write_text(json.dumps(other))
        for words in (("eval", "--model"), ("info",)):
            lite3r(*words, run).refuses("config.json")


def test_damaged_teacher_weights(lite3r: Any) -> None:
    Path("weights.safetensors").write_bytes(b"not safetensors")
    lite3r("distill", "--weights", "weights.safetensors").refuses("no whole safetensors file")
    save_file({"a": np.zeros(2)}, "weights.safetensors")
    answer = lite3r("distill", "--weights", "weights.safetensors")
    answer.refuses("missing", "unexpected", "model.a")


@pytest.mark.parametrize(
    ("name", "told"), [("run.json", "other settings"), ("report.json", "is damaged")]
)
def test_a_finished_run_whose_files_are_damaged(
    lite3r: Any, run: Path, name: str, told: str
) -> None:
    for text, part in {"": "is no JSON", "{": "is no JSON", "[]": told}.items():
        (run / name).write_text(text)
        lite3r.distill("--out", run, "--resume").refuses(part)


def test_damaged_checkpoint_is_not_resumed(lite3r: Any, run: Path) -> None:
    (run / "report.json").unlink()
    for file in (run / "training").rglob("tensors.safetensors"):
        file.write_bytes(b"")
    lite3r.distill("--out", run, "--resume").refuses("damaged", "remove this directory")


def test_export_refuses_what_it_cannot_do(lite3r: Any, run: Path) -> None:
    lite3r("export", "nowhere", "--out", "light").refuses("holds no student")
    lite3r("export", run, "--out", run).refuses("exists already", "--overwrite")
    assert lite3r.distill("--out", "dense", "--fp8", "none", "--quiet").code == 0
    lite3r("export", "dense", "--out", "light").refuses("fp8=none", "--fp8 rowwise")
    assert not Path("light").exists()
