"""`lite3r reconstruct --scenes`: every scene once, whoever dies, and as if it were alone."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

NAMES = ("attic", "cellar", "hall")
QUICK = ("--size", "28", "--formats", "npz")


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """Three folders of two photos each."""
    rng = np.random.default_rng(0)
    folders = [tmp_path / "photos" / name for name in NAMES]
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(2):
            coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((90, 60)).save(folder / f"{number}.png")
    return folders


def start(scenes: list[Path], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lite3r", "reconstruct", *map(str, scenes), "--scenes"]
    words = [*QUICK, "--out", "out", "--json"]
    return subprocess.Popen(
        [*command, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def depth(folder: Path) -> Any:
    with np.load(folder / "prediction.npz") as arrays:
        return arrays["depth"]


def test_two_processes_one_killed_midway_make_what_one_makes_of_each(
    lite3r: Any, tmp_path: Path, scenes: list[Path]
) -> None:
    doomed = start(scenes, tmp_path)
    claim = tmp_path / "out/queue/attic.claim"
    end = time.monotonic() + 120
    while not (claim.exists() and claim.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    doomed.send_signal(signal.SIGSTOP)  # at work on the first scene
    alive = start(scenes, tmp_path)
    try:
        while not (tmp_path / "out/queue/hall.json").exists():
            assert alive.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not (tmp_path / "out/attic").exists()
    finally:
        doomed.kill()
    out, err = alive.communicate(timeout=120)
    doomed.communicate()
    assert alive.returncode == 0, err
    assert sorted(json.loads(out)["own"]) == list(NAMES)
    for scene in scenes:
        assert lite3r("reconstruct", scene, *QUICK, "--out", f"alone-{scene.name}").code == 0
        np.testing.assert_array_equal(
            depth(tmp_path / "out" / scene.name), depth(tmp_path / f"alone-{scene.name}")
        )
    again = ("reconstruct", *scenes, "--scenes", *QUICK, "--out", "out", "--json")
    assert json.loads(lite3r(*again).out)["own"] == []
    shutil.rmtree("out/cellar")
    assert json.loads(lite3r(*again).out)["own"] == ["cellar"]
    np.testing.assert_array_equal(depth(Path("out/cellar")), depth(Path("alone-cellar")))


def test_a_broken_scene_is_noted_and_the_others_are_made(lite3r: Any, scenes: list[Path]) -> None:
    for photo in scenes[1].iterdir():
        photo.write_bytes(b"no photo")
    words = ("reconstruct", *scenes, "--scenes", *QUICK, "--out", "out")
    for _ in range(2):
        done = lite3r(*words)
        assert done.code == 2
        assert "1 of 3 scenes are broken" in done.err
        assert "cellar: " in done.err
    assert Path("out/attic/prediction.npz").exists()
    assert Path("out/hall/prediction.npz").exists()
    for photo in scenes[1].iterdir():
        photo.write_bytes((scenes[0] / photo.name).read_bytes())
    Path("out/queue/cellar.json").unlink()
    done = lite3r(*words)
    assert done.code == 0, done.err
    assert "3 scenes in out, 1 of them by this process" in done.out


def test_frames_are_those_of_videos_beside_folders_of_photos(
    lite3r: Any, scenes: list[Path]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 60, 90, 3), dtype=np.uint8)
    video = cv2.VideoWriter("walk.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5, (90, 60))
    for frame in pixels:
        video.write(frame)
    video.release()
    words = ("--scenes", *QUICK, "--frames", "3", "--out", "out")
    done = lite3r("reconstruct", scenes[0], "walk.avi", *words)
    assert done.code == 0, done.err
    assert [len(depth(Path("out") / name)) for name in ("attic", "walk")] == [2, 3]


def test_what_would_mix_is_refused(lite3r: Any, scenes: list[Path]) -> None:
    twin = scenes[0].parent / "other" / "attic"
    twin.mkdir(parents=True)
    words = ("--scenes", *QUICK, "--out", "out")
    done = lite3r("reconstruct", scenes[0], twin, *words)
    assert done.code == 2
    assert "both are named attic" in done.err
    done = lite3r("reconstruct", scenes[0], *words, "--overwrite")
    assert "contradict each other" in done.err
    assert not Path("out").exists()
    assert lite3r("reconstruct", scenes[0], *words).code == 0
    same = lite3r("reconstruct", scenes[0], *words, "--backbone", "da3-tiny")
    assert same.code == 0, same.err
    done = lite3r("reconstruct", *scenes[:2], *words, "--max-points", "7")
    assert done.code == 2
    assert "max_points: 1000000 in the run, 7 now" in done.err
