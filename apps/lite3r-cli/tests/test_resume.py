"""A distillation that is stopped, however hard, goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "programs" / "forked.py"
WORDS = (
    *("distill", "--weights", "random", "--steps", "6", "--eval-scenes", "1", "--size", "56"),
    *("--views", "2", "--recipe", "tiles", "--many-views", "0", "--checkpoint-every", "1"),
)


@dataclass(frozen=True)
class Run:
    """A distillation in a process of its own."""

    ask: Callable[..., Any]
    pid: int
    errors: Path

    def runs(self) -> bool:
        return self.ask(self.pid, False) is None

    def stop(self, how: signal.Signals) -> None:
        os.kill(self.pid, how)

    def end(self) -> tuple[int, str]:
        """Wait for it; the code that it ends with, negative for a signal, and what it said."""
        return self.ask(self.pid, True), self.errors.read_text()


@dataclass(frozen=True)
class Served:
    """A run that went through, and what starts another from where its process is now."""

    whole: bytes
    start: Callable[..., Run]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    whole = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, str(PROGRAM), *WORDS, "--out", str(whole)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def ask(*request: Any) -> Any:
        print(json.dumps(request), file=asked, flush=True)
        return json.loads(answers.readline())

    def start(folder: Path, *words: str) -> Run:
        errors = folder.with_suffix(".resumed" if words else ".started")
        return Run(ask, ask([*WORDS, "--out", str(folder), *words], str(errors)), errors)

    assert json.loads(answers.readline()) == 0
    yield Served((whole / "adapter.safetensors").read_bytes(), start)
    asked.close()
    process.wait(60)
    answers.close()


def wait_for(folder: Path, pattern: str, run: Run) -> None:
    """Return as soon as something in the folder has such a name."""
    while not any(folder.glob(pattern)):
        assert run.runs(), "the run ended before it could be stopped"
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("run.json", signal.SIGKILL),
        ("training/checkpoints/step-*3", signal.SIGKILL),
        ("config.json", signal.SIGKILL),
        ("training/checkpoints/step-*", signal.SIGINT),
        ("training/checkpoints/step-*", signal.SIGTERM),
    ],
)
def test_stopped_and_resumed_gives_the_same_bits(
    served: Served, tmp_path: Path, place: str, how: signal.Signals
) -> None:
    """Killed before the first step, in the middle, and after training; and politely."""
    run = served.start(tmp_path / "run")
    wait_for(tmp_path / "run", place, run)
    run.stop(how)
    code, said = run.end()
    if how != signal.SIGKILL:
        assert code == 128 + how
        assert "--resume" in said and "Traceback" not in said
    else:
        assert code == -how
    code, said = served.start(tmp_path / "run", "--resume").end()
    assert code == 0, said
    assert (tmp_path / "run" / "adapter.safetensors").read_bytes() == served.whole
