"""A run that is killed at any moment and started again ends bit-equal."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distill.resume.checkpoint import list_checkpoints, load_checkpoint

KILLED = -signal.SIGKILL
KILLS_A_RUN = 4


class Worker:
    def __init__(self):
        script = Path(__file__).with_name("kill_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, directory, **when):
        directory.mkdir(exist_ok=True)
        self._process.stdin.write(json.dumps({"directory": str(directory), **when}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def worker():
    started = Worker()
    yield started
    started.close()


def test_every_resume_after_a_kill_is_bit_equal(worker, tmp_path, request):
    points = request.config.getoption("--kill-points", default=12)
    whole = worker.run(tmp_path / "whole")
    assert whole["code"] == 0
    expected = (tmp_path / "whole" / "student.json").read_text()
    draw, killed, number = random.Random(points), 0, 0
    while killed < points:
        directory = tmp_path / f"run-{number}"
        number += 1
        for _ in range(KILLS_A_RUN):
            killed += worker.run(directory, **moment(draw, whole["seconds"]))["code"] == KILLED
            for path in list_checkpoints(directory / "checkpoints"):
                load_checkpoint(path)
        assert worker.run(directory)["code"] == 0
        assert (directory / "student.json").read_text() == expected
        assert not list(directory.rglob(".*partial"))


def moment(draw, seconds):
    """A moment in the run's time, or before one of the calls that make a file durable."""
    if draw.random() < 0.5:
        return {"after": draw.uniform(0, seconds)}
    return {"call": draw.randint(1, 30)}
