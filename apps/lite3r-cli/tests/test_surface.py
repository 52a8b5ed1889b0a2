"""The commands and options are a promise: a change here is a change of the interface."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import distill
from lite3r.commands import COMMANDS, options_of
from lite3r.options.distill import TrainingOptions
from lite3r.options.reconstruct import InputOptions, MaskOptions, MemoryOptions
from lite3r.shell.command import Command
from recon_backbones import Masks, PhotoChoice
from recon_backbones.views.options import Memory

ROOT = Path(__file__).parents[3]
OUTPUT = "--json --quiet --verbose --log-file"
RECIPE = "--recipe --keep --block --scope --fp8 --trainable --set"
MODEL = "--model --backbone --weights --backend --precision --device"
TRAINING = (
    "--steps --learning-rate --ema-decay --accumulation --checkpoint-every --match "
    "--attention-weight --solve-batches --recompute"
)
INPUTS = (
    "--fps --frames --max-views --drop-blurred --skip-broken --recursive --cameras "
    "--no-square-pixels --shared-camera"
)
MASKS = "--confidence-percentile --edge-tolerance --mask-sky --mask-background --masks"
MEMORY = "--budget --window --overlap --no-close-loops"
OPTIONS = {
    "distill": f"--backbone --weights --data --photos --out --resume --overwrite --views --size "
    f"--eval-scenes --many-views --many-scenes --seed --device --backend --precision {RECIPE} "
    f"{TRAINING} {OUTPUT}",
    "reconstruct": f"STR {MODEL} --out --overwrite --scenes --formats --size --max-points "
    f"--refine --known-distance --metric-model --metric-weights --seed {INPUTS} {MASKS} "
    f"{MEMORY} {OUTPUT}",
    "view": f"PATH --html --overwrite --open --confidence-percentile --edge-tolerance "
    f"--max-points {OUTPUT}",
    "eval": f"{MODEL} --data --scans --protocol --scenes --views --size --seed --out "
    f"--overwrite {OUTPUT}",
    "export": f"PATH --out --to --kind --views --height --width --dense --backbone --weights "
    f"--overwrite {OUTPUT}",
    "bench speed": f"--backbone --weights --views --sizes --repeats --seconds --no-compile --out "
    f"--overwrite --seed --device --backend {RECIPE} {OUTPUT}",
    "bench quality": f"--rows --full --scenes --views --size --backbone --weights --students "
    f"--photos --steps --out --overwrite --seed --device {OUTPUT}",
    "tune": f"--data --backbone --weights --allow --allow-pose --views --size --out --overwrite "
    f"--seed --device {OUTPUT}",
    "bench plot": f"PATH --out --overwrite {OUTPUT}",
    "data make": f"PATH --scenes --views --size --split --seed --overwrite {OUTPUT}",
    "data check": f"PATH {OUTPUT}",
    "pretrain": "--backbone --from --out --steps --minutes --world --peak --seed --device "
    f"--processes --larger --test-scenes {OUTPUT}",
    "info": f"{{None}}|PATH {OUTPUT}",
}


def help_words(lite3r: Any, *command: str) -> set[str]:
    """Every option and positional argument that the help of a command lists."""
    text = lite3r(*command, "--help").out
    lines = [line.strip("│ ") for line in text.splitlines()]
    named = [re.match(r"--[\w-]+(?: \S+, --[\w-]+)*", line) for line in lines]
    first = {word for names in named if names for word in re.findall(r"--[\w-]+", names[0])}
    box = text.partition("positional arguments")[2].partition("╰")[0].splitlines()[1:2]
    positional = {line.strip("│ ").split()[0].strip("[]") for line in box}
    return first | positional


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_what_was_promised_and_no_more(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # a wider terminal sets options in two columns
    assert help_words(lite3r, *command.split()) == set(OPTIONS[command].split())


def test_help_of_every_command_is_answered_without_pytorch() -> None:
    code = (
        "import sys; from lite3r.main import main\n"
        "for words in sys.argv[1:]:\n"
        "    try:\n        main([*words.split(), '--help'])\n"
        "    except SystemExit as error:\n        assert error.code == 0, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *OPTIONS], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: lite3r") == len(OPTIONS)


def test_what_does_the_work_of_a_command_is_there() -> None:
    for word in COMMANDS:
        options_of(word)
    kinds = Command.__subclasses__()
    assert len(kinds) == len(OPTIONS)
    for kind in kinds:
        module, _, name = kind.work.partition(":")
        assert callable(getattr(import_module(module), name)), kind


@pytest.mark.parametrize(
    ("kind", "others"),
    [(TrainingOptions, distill.Training), (MemoryOptions, Memory), (InputOptions, PhotoChoice)],
)
def test_options_have_the_values_that_the_packages_have_unless_told(kind: Any, others: Any) -> None:
    usual, theirs = vars(kind()), vars(others())
    own = {"precision"}
    assert {n: v for n, v in usual.items() if n not in own} == {
        n: v for n, v in theirs.items() if n not in own
    }


def test_masks_are_those_of_the_package_unless_told() -> None:
    usual = vars(MaskOptions())
    assert Masks(**{n: v for n, v in usual.items() if n != "masks"}) == Masks()


def test_every_command_is_promised() -> None:
    assert {k.split()[0] for k in OPTIONS} == set(COMMANDS)


PAGES = sorted(p for pattern in ("*.md", "*/*.md", "*/*/*.md") for p in ROOT.glob(pattern))


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command that a page names, with the options after it."""
    shell = "".join(re.findall(r"^```(?:\w*)\n.*?^```$", text, re.M | re.S))
    lines = re.findall(r"^(?:\$ )?lite3r ([^#\n]*)", shell, re.M)
    for line in (*lines, *re.findall(r"`lite3r ([^`]*)`", text)):
        words = line.split()
        for size in (2, 1):
            if " ".join(words[:size]) in OPTIONS:
                yield " ".join(words[:size]), re.findall(r"--[\w-]+", line)
                break
        else:
            if words and words[0].islower() and not words[0].startswith("-"):
                yield words[0], []


def test_pages_name_no_command_and_no_option_that_is_not_there() -> None:
    found = [(p, *c) for p in PAGES for c in commands_of(p.read_text(encoding="utf-8"))]
    assert len({command for _, command, _ in found}) > 8
    for page, command, options in found:
        groups = {name.split()[0] for name in OPTIONS}
        assert command in OPTIONS or command in groups, f"{page}: {command}"
        known = {*OPTIONS.get(command, "").split(), "--help"}
        assert set(options) <= known, f"{page}: lite3r {command}"
