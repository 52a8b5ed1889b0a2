r"""Reconstruct 200 photos of 12 megapixels: resident memory, time, and what Ctrl-C leaves.

    python apps/lite3r-cli/benchmarks/reconstruct_200.py \
        --out benchmarks/results/reconstruct-200.json

Photos are views of a synthetic room, enlarged to 4000 x 3000 pixels with noise, so that JPEG
files have the size of real ones. The program runs as a user starts it, in a process of its
own; its peak memory is what the system reports when it ends.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from lite3r.shell.environment import environment
from recon_eval.data import SyntheticScenes

WIDTH, HEIGHT = 4000, 3000
VIEWS = 16  # of one synthetic scene


def make_photos(folder: Path, count: int) -> int:
    """Write `count` photos; the bytes of all."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = SyntheticScenes("test", count=1, views=VIEWS, height=300, width=400)[0]
    grain = np.random.default_rng(0).normal(128, 4, (HEIGHT, WIDTH, 3))
    noise = Image.fromarray(grain.astype(np.uint8))
    for number in range(count):
        view = scenes.images[number * VIEWS // count].permute(1, 2, 0).numpy()
        shift = number % 8  # neighbors differ, as those of a moving camera do
        small = Image.fromarray((view * 255).astype(np.uint8)).crop((shift, 0, 392 + shift, 294))
        large = small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        noisy = ImageChops.add(large, ImageChops.offset(noise, number), offset=-128)
        noisy.save(folder / f"{number:04d}.jpg", quality=90)
    return sum(path.stat().st_size for path in folder.iterdir())


def reconstruct(photos: Path, out: Path, *more: str) -> dict[str, Any]:
    """Run the program; exit code, seconds and peak memory."""
    command = [sys.executable, "-m", "lite3r", "reconstruct", str(photos), "--out", str(out), *more]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stderr is not None
    said = child.stderr.read()
    out_text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    return {
        "command": "lite3r reconstruct " + " ".join(["PHOTOS", *more]),
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_resident_bytes": usage.ru_maxrss << 10,
        "said": [line.strip() for line in said.splitlines() if line.strip()],
        "result": out_text.strip().splitlines()[-1:],
    }


def make_student(folder: Path) -> None:
    """A light copy of the bundled network, hardly measured."""
    few = ("--eval-scenes", "1", "--many-scenes", "1", "--many-views", "9")
    command = [sys.executable, "-m", "lite3r", "distill", "--out", str(folder), *few]
    subprocess.run(command, check=True, capture_output=True)


def interrupt(photos: Path, folder: Path) -> dict[str, Any]:
    """Start, stop with Ctrl-C while the network runs, and list what is left."""
    out = folder / "stopped"
    command = [sys.executable, "-m", "lite3r", "reconstruct", str(photos), "--out", str(out)]
    child = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=_listen_to_ctrl_c
    )
    assert child.stderr is not None
    before = {path.name for path in folder.iterdir()}
    for line in child.stderr:
        if line.startswith("reconstructing"):
            break
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    child.stderr.read()
    code = child.wait()
    left = sorted(p.name for p in folder.iterdir() if p.name not in before or "stopped" in p.name)
    return {"exit_code": code, "left": left}


def _listen_to_ctrl_c() -> None:
    """Undo what a shell does to programs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Make the photos, measure, write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = make_photos(folder / "photos", options.photos)
        make_student(folder / "light")
        found = {
            "format": "lite3r-reconstruct-200/1",
            "photos": options.photos,
            "photo_size": [WIDTH, HEIGHT],
            "photo_bytes": size,
            "runs": {
                "all at once": reconstruct(folder / "photos", folder / "whole"),
                "windows of 40": reconstruct(
                    folder / "photos", folder / "windows", "--window", "40", "--overlap", "10"
                ),
                "light": {
                    **reconstruct(
                        folder / "photos", folder / "fast", "--model", str(folder / "light")
                    ),
                    "command": "lite3r reconstruct PHOTOS --model runs/da3-tiny",
                },
            },
            "interrupted": interrupt(folder / "photos", folder),
            "environment": environment(),
        }
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
