"""A distillation that is stopped, however hard, goes on to the same bits."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = (
    *("distill", "--weights", "random", "--steps", "6", "--eval-scenes", "1", "--size", "84"),
    *("--views", "2", "--recipe", "tiles", "--many-views", "0", "--checkpoint-every", "1"),
)
PROGRAM = """
import sys
from lite3r.distillation import report
from lite3r.main import main

report.REPEATS = 1  # how long models take is not the question
sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-c", PROGRAM, *WORDS, "--out", str(folder), *words)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Return as soon as something in the folder has such a name."""
    while not any(folder.glob(pattern)):
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    process = start(folder)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return (folder / "adapter.safetensors").read_bytes()


@pytest.mark.parametrize("place", ["run.json", "training/checkpoints/step-*3", "config.json"])
def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path, whole: bytes, place: str) -> None:
    """Killed before the first step, in the middle, and after training."""
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", place, process)
    process.kill()
    process.communicate()
    process = start(tmp_path / "run", "--resume")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert (tmp_path / "run" / "adapter.safetensors").read_bytes() == whole


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, whole: bytes) -> None:
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", "training/checkpoints/step-*", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    resumed = start(tmp_path / "run", "--resume")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert (tmp_path / "run" / "adapter.safetensors").read_bytes() == whole
