"""Folders that `lite3r reconstruct` writes: whole, named, and in the place of nothing else."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .making import NAMES, run


def test_nothing_but_a_reconstruction_is_ever_replaced(lite3r: Any, room: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    run(lite3r, room, "--overwrite", out="mine").refuses("no reconstruction", "thesis.tex")
    run(lite3r, room, "--overwrite", out=str(room)).refuses("would be lost")
    run(lite3r, room, "--overwrite", out=str(room.parent)).refuses("would be lost")
    assert Path("mine/thesis.tex").read_text() == "years of work"
    assert len(list(room.iterdir())) == 4
    assert run(lite3r, room).code == 0
    run(lite3r, room).refuses("exists already", "--overwrite")
    assert lite3r("view", "out").code == 0
    assert run(lite3r, room, "--overwrite").code == 0
    Path("out/dense").mkdir()  # what somebody made of it
    run(lite3r, room, "--overwrite").refuses("no reconstruction", "it holds dense")
    assert Path("out/dense").is_dir() and Path("out/reconstruction.json").is_file()


def test_photos_that_a_list_names_are_never_replaced(lite3r: Any, room: Path) -> None:
    assert run(lite3r, room).code == 0
    inside = Path("out/images")
    inside.mkdir(exist_ok=True)
    for name in NAMES:
        (inside / name).write_bytes((room / name).read_bytes())
    Path("chosen.txt").write_text("".join(f"{inside / name}\n" for name in NAMES))
    run(lite3r, "chosen.txt", "--overwrite").refuses("would be lost")
    masks = ("--masks", inside)
    run(lite3r, room, *masks, "--overwrite").refuses("would be lost")
    assert sorted(path.name for path in inside.iterdir()) == sorted(NAMES)


def test_links_of_the_reconstruction_itself_are_no_photos_for_its_successor(
    lite3r: Any, room: Path
) -> None:
    words = ("--weights", "random", "--size", "28", "--formats", "transforms", "--out", "rec")
    done = lite3r("reconstruct", room, *words)
    assert done.code == 0, done.err
    links = sorted(Path("rec/images").iterdir())
    assert all(link.is_symlink() for link in links)
    again = run(lite3r, *links, "--overwrite", out="rec")
    again.refuses(f"rec holds {links[0]}; it would be lost")
    assert "reconstructing" not in again.err


def test_where_a_link_leads_a_reconstruction_is_written_and_finds_its_photos(
    lite3r: Any, room: Path
) -> None:
    Path("disk/deep/out").mkdir(parents=True)
    Path("way").symlink_to("disk/deep")
    Path("link").symlink_to("disk/deep/out")
    words = ("--weights", "random", "--size", "28", "--formats", "transforms", "--overwrite")
    for out in ("link", "way/other"):
        done = lite3r("reconstruct", room, *words, "--out", out)
        assert done.code == 0, done.err
        links = [link for link in Path(out, "images").iterdir() if link.is_symlink()]
        assert links and all(link.is_file() for link in links)
    assert Path("link").is_symlink() and Path("disk/deep/out/images").is_dir()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_scheduler_s_stop_leave_nothing_behind(
    tmp_path: Path, room: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-m", "lite3r", "reconstruct", str(room), "--weights", "random"]
    folder = tmp_path / "work"
    folder.mkdir()
    child = subprocess.Popen(
        [*command, "--size", "448", "--out", "out"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("reconstructing"):
            break
    assert any(path.name.startswith(".out.") for path in folder.iterdir())
    time.sleep(0.1)
    child.send_signal(how)
    said = child.stderr.read()
    assert child.wait(timeout=60) == 128 + how
    assert "no half-written file is left" in said
    assert list(folder.iterdir()) == []


def test_the_folder_above_has_a_name(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, room: Path
) -> None:
    """It was to be reconstructions/.., which is there, and was refused after the work."""
    (room / "raw").mkdir()
    monkeypatch.chdir(room / "raw")
    words = ("--weights", "random", "--size", "56", "--formats", "npz", "--quiet")
    assert lite3r("reconstruct", "..", *words).code == 0
    assert Path("reconstructions", room.name, "prediction.npz").is_file()
