"""The commands and options are a promise: a change here is a change of the interface."""

from typing import Any

import pytest

from lite3r.commands import COMMANDS

OUTPUT = "--json --quiet --verbose --log-file"
RECIPE = "--recipe --keep --block --scope --fp8 --trainable --set"
MODEL = "--model --backbone --weights --backend --precision --device"
TRAINING = (
    "--steps --learning-rate --ema-decay --accumulation --checkpoint-every --match "
    "--solve-batches --recompute"
)
INPUTS = (
    "--fps --frames --max-views --drop-blurred --skip-broken --recursive --cameras --shared-camera"
)
MASKS = "--confidence-percentile --edge-tolerance --mask-sky --mask-background --masks"
MEMORY = "--budget --window --overlap"
OPTIONS = {
    "distill": f"--backbone --weights --data --photos --out --resume --overwrite --views --size "
    f"--eval-scenes --many-views --many-scenes --seed --device --backend --precision {RECIPE} "
    f"{TRAINING} {OUTPUT}",
    "reconstruct": f"STR {MODEL} --out --overwrite --formats --size --max-points "
    f"--known-distance --metric-model --metric-weights --seed {INPUTS} {MASKS} {MEMORY} {OUTPUT}",
    "view": f"PATH --html --overwrite --open --confidence-percentile --edge-tolerance "
    f"--max-points {OUTPUT}",
    "eval": f"{MODEL} --data --scenes --views --size --seed --out {OUTPUT}",
    "export": f"PATH --out --kind --views --height --width --weights --overwrite {OUTPUT}",
    "bench speed": f"--backbone --weights --views --sizes --repeats --seconds --no-compile --out "
    f"--overwrite --seed --device --backend {RECIPE} {OUTPUT}",
    "bench quality": f"--rows --full --scenes --views --size --backbone --weights --students "
    f"--photos --out --overwrite --seed --device {OUTPUT}",
    "tune": f"--data --backbone --weights --allow --allow-pose --views --size --out --overwrite "
    f"--seed --device {OUTPUT}",
    "bench plot": f"PATH --out --overwrite {OUTPUT}",
    "data make": f"PATH --scenes --views --size --split --seed --overwrite {OUTPUT}",
    "data check": f"PATH {OUTPUT}",
    "pretrain": f"--from --out --steps --minutes --world --peak --device --processes --larger "
    f"--test-scenes {OUTPUT}",
    "info": f"{{None}}|PATH {OUTPUT}",
}


def help_words(lite3r: Any, *command: str) -> set[str]:
    """Every option and positional argument that the help of a command lists."""
    text = lite3r(*command, "--help").out
    lines = [line.strip("│ ").split() for line in text.splitlines()]
    first = {words[0].rstrip(",") for words in lines if words}
    box = text.partition("positional arguments")[2].partition("╰")[0].splitlines()[1:2]
    positional = {line.strip("│ ").split()[0].strip("[]") for line in box}
    return {w for w in first if w.startswith("--")} | positional


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_what_was_promised_and_no_more(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # a wider terminal sets options in two columns
    assert help_words(lite3r, *command.split()) == set(OPTIONS[command].split())


def test_every_command_is_promised() -> None:
    assert {k.split()[0] for k in OPTIONS} == set(COMMANDS)
