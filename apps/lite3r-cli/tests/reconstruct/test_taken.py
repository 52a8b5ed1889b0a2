"""Which photos and frames `lite3r reconstruct` takes, and what it says of the others."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .making import NAMES, arrays, run


def test_frames_of_a_video_lie_beside_their_cameras(lite3r: Any, video: Path) -> None:
    done = lite3r(
        *("reconstruct", video, "--weights", "random", "--size", "56", "--out", "out"),
        *("--frames", "3", "--formats", "npz", "transforms"),
    )
    assert done.code == 0, done.err
    names = list(arrays()["names"])
    assert len(names) == 3
    assert sorted(path.name for path in Path("out/images").iterdir()) == names
    frames = json.loads(Path("out/transforms.json").read_text())["frames"]
    assert all(Path("out", frame["file_path"]).is_file() for frame in frames)
    assert all(not Path("out", frame["file_path"]).is_symlink() for frame in frames)


def test_video_options_and_inputs_that_make_no_sense(lite3r: Any, video: Path, room: Path) -> None:
    run(lite3r, room, "--frames", "3").refuses("without a video", "max_views")
    run(lite3r, video, "--fps", "1", "--frames", "3").refuses("give one of the two")
    run(lite3r, video, room).refuses("give it alone")
    run(lite3r, video, "--frames", "99").refuses("12 frames", "99 are asked for")
    Path("empty.mp4").write_bytes(b"")
    run(lite3r, "empty.mp4").refuses("empty.mp4", "no video")
    run(lite3r, "gone.mp4", "--weights", "gone").refuses("gone.mp4 does not exist")  # weights later
    assert not Path("out").exists()


def test_a_broken_video_is_told_in_our_words_alone(tmp_path: Path) -> None:
    """FFmpeg writes past Python, and takes its level once in a process."""
    broken = tmp_path / "cut.mp4"
    broken.write_bytes(b"\0\0\0\x1cftypisom\0\0\2\0isomiso2mp41\0\0\0\bfree" + bytes(500))
    command = [sys.executable, "-m", "lite3r", "reconstruct", str(broken), "--weights", "random"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"lite3r: {broken}: is no video that OpenCV can read")
    assert lines[-2] == f"reading {broken} ..."


def test_all_that_was_left_out_is_told_to_a_script(lite3r: Any, room: Path) -> None:
    (room / "copy.png").write_bytes((room / NAMES[0]).read_bytes())
    (room / "bad.png").write_bytes(b"no photo")
    done = run(lite3r, room, "--skip-broken", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["left out"] == f"1 broken: bad.png; 1 a copy of another: {NAMES[0]}"
    assert told["views"] == 4


def test_two_copies_of_one_photo_are_no_two_views(lite3r: Any, room: Path) -> None:
    (room / "copy.png").write_bytes((room / NAMES[0]).read_bytes())
    done = run(lite3r, room / NAMES[0], room / "copy.png")
    assert done.code == 0, done.err
    assert "a copy of another: copy.png" in done.err
    assert "there is no pose to know" in " ".join(done.err.split())
    assert "1 view, " in done.out
    assert list(arrays()["names"]) == [NAMES[0]]
