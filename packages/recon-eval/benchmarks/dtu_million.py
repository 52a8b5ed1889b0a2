"""Time and memory of the DTU protocol on a million predicted and a million reference points.

python packages/recon-eval/benchmarks/dtu_million.py --output benchmarks/results/dtu-million.json

Nothing is timed before the evaluator has given the numbers of the public port on the small cloud
beside the tests.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from recon_eval import dtu

FIXTURE = Path(__file__).parents[1] / "tests/fixtures/dtu"
TOLERANCE = 1e-3


def check() -> list[float]:
    """Return how far the small cloud's numbers are from the port's, relatively."""
    expected = json.loads((FIXTURE / "expected.json").read_text())
    found = dtu.evaluate_scan(FIXTURE / "pred.ply", FIXTURE, expected["scan"])
    numbers = (found.accuracy_mm, found.completeness_mm, found.overall_mm)
    gaps = [abs(a / b - 1) for a, b in zip(numbers, expected["mean"], strict=True)]
    if max(gaps) > TOLERANCE:
        raise SystemExit(f"the numbers are off by {gaps}, and {TOLERANCE} is allowed: not timed")
    return gaps


def surface(count: int, noise_mm: float, rng: np.random.Generator) -> np.ndarray:
    """A wavy sheet about 200 mm wide with `count` points, in the order of a scan over it."""
    side = int(np.ceil(np.sqrt(count)))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 200, side)] * 2, indexing="ij"), axis=-1)
    x, y = grid.reshape(-1, 2)[:count].T
    z = 20 * np.sin(x / 15) + 15 * np.cos(y / 21)
    return np.stack([x, y, z], axis=1) + noise_mm * rng.normal(size=(count, 3))


def problem(points: int) -> tuple[torch.Tensor, dtu.Truth]:
    """A predicted cloud and its reference, all of it observed."""
    rng = np.random.default_rng(0)
    low = np.array([-10.0, -10, -60])
    truth = dtu.Truth(
        scan=0,
        points=surface(points, 0.02, rng),
        observation=dtu.Observation(
            mask=np.ones((110, 110, 60), dtype=bool),
            low=low,
            high=low + np.array([220.0, 220, 120]),
            resolution=2.0,
            plane=np.array([0.0, 0, 1, 100]),
        ),
    )
    return torch.from_numpy(surface(points, 0.1, rng)), truth


def machine() -> dict[str, str | None]:
    """What it ran on, and what was installed."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    git = ("git", "-C", str(FIXTURE), "rev-parse", "HEAD")
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    libraries = {name: version(name) for name in ("recon-eval", "numpy", "scipy", "torch")}
    return {
        "cpu": next(names, platform.machine()),
        "python": platform.python_version(),
        **libraries,
        "commit": commit or None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    gaps = check()
    predicted, truth = problem(args.points)
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        result = dtu.evaluate_cloud(predicted, truth, workers=args.workers)
        seconds.append(time.perf_counter() - start)
    record = {
        "machine": machine(),
        "points": args.points,
        "workers": args.workers,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "peak_resident_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "gaps_to_the_port": dict(zip(("accuracy", "completeness", "overall"), gaps, strict=True)),
        "numbers": result.numbers(),
        "counts": result.provenance(),
    }
    args.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
