"""Views rendered a second: the rich world and the rooms, by place, size and device.

python packages/recon-eval/benchmarks/world_speed.py --output world-speed-cpu.json
python packages/recon-eval/benchmarks/world_speed.py --device cuda --scenes 8 --output gpu.json

Nothing is timed before a scene rendered among others equals the same scene rendered alone.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from recon_eval.data import SyntheticScenes, SyntheticWorld
from recon_eval.synthetic import PLACES


def check(device: str) -> None:
    """Refuse to time a renderer whose scenes depend on what else is rendered."""
    data = SyntheticWorld("test", count=4, views=2, height=48, width=64, device=device)
    together, alone = data.scenes([0, 1, 2])[2], data[2]
    assert together.depth is not None and alone.depth is not None
    gap = float((together.depth - alone.depth).abs().max())
    if gap > 1e-2:
        raise SystemExit(f"depth={gap} m apart; scenes must not depend on others: not timed")


def seconds(render: Callable[[], object], repeats: int, device: str) -> list[float]:
    """Wall seconds of every repetition after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        render()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return taken[1:]


def contenders(options: argparse.Namespace, size: int) -> dict[str, Callable[[], object]]:
    """What renders the first scenes of the rooms and of each place."""
    common = {"count": 1 << 30, "views": options.views, "height": size, "width": size}
    indices = list(range(options.scenes))

    def place(name: str) -> Callable[[], object]:
        world = SyntheticWorld("train", places=(name,), device=options.device, **common)
        return lambda: world.scenes(indices)

    rooms = SyntheticScenes("train", device=options.device, **common)
    return {"SyntheticScenes": lambda: [rooms[i] for i in indices]} | {n: place(n) for n in PLACES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=2, help="scenes rendered together")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check(options.device)
    rows = []
    for size in options.sizes:
        for name, render in contenders(options, size).items():
            taken = seconds(render, options.repeats, options.device)
            rate = options.scenes * options.views / statistics.median(taken)
            rows.append({"place": name, "size": size, "seconds": taken, "views_per_second": rate})
    record = {
        "what": "synthetic worlds rendered",
        "device": torch.cuda.get_device_name()
        if options.device == "cuda"
        else platform.processor(),
        "torch": torch.__version__,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "threads": options.threads,
        "scenes": options.scenes,
        "views": options.views,
        "rows": rows,
    }
    text = json.dumps(record, indent=1) + "\n"
    sys.stdout.write(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
