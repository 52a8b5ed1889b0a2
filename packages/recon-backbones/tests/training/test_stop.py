"""A training that is stopped from outside, or by its disk, ends in all its processes."""

import sys
import time
from pathlib import Path
from signal import SIGINT
from subprocess import Popen

import pytest

from recon_backbones.training import Run, train

from .test_loop import PARTS, Walls, schedule


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


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_refuses_is_told_with_the_file_and_the_way_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
    processes: int,
) -> None:
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))  # the other process imports this file
    run = Run(folder=tmp_path, schedule=schedule(1), processes=processes)
    (tmp_path / "state.partial").mkdir()  # where no file can be written
    with pytest.raises(OSError, match=r"state\.partial: cannot be written; .*: make room, or"):
        train(run, PARTS)
