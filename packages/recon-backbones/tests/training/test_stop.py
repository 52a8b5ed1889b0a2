"""A training that is stopped from outside ends in all its processes."""

import sys
import time
from pathlib import Path
from signal import SIGINT
from subprocess import Popen

import pytest

from .test_loop import Walls


def test_ctrl_c_in_one_process_ends_all(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    code = (
        "import importlib, pathlib, signal, sys\n"
        f"t = importlib.import_module({Walls.__module__!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "t.train(t.Run(folder=folder, schedule=t.schedule(10**6), processes=2), t.PARTS)\n"
    )
    with Popen([sys.executable, "-c", code], cwd=pytestconfig.rootpath) as child:
        try:
            while not (tmp_path / "log.jsonl").exists():
                assert child.poll() is None
                time.sleep(0.1)
            child.send_signal(SIGINT)
            assert child.wait(60) == -SIGINT
        finally:
            child.kill()
