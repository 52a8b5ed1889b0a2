"""Time and memory of the DTU protocol on a million predicted and a million reference points.

python packages/recon-eval/benchmarks/dtu_million.py --output result.json
"""

import argparse
import json
import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from recon_eval import dtu


def surface(count: int, noise_mm: float, rng: np.random.Generator) -> np.ndarray:
    """A wavy sheet about 200 mm wide with `count` points, in the order of a scan over it."""
    side = int(np.ceil(np.sqrt(count)))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 200, side)] * 2, indexing="ij"), axis=-1)
    x, y = grid.reshape(-1, 2)[:count].T
    z = 20 * np.sin(x / 15) + 15 * np.cos(y / 21)
    return np.stack([x, y, z], axis=1) + noise_mm * rng.normal(size=(count, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    low = np.array([-10.0, -10, -60])
    truth = dtu.Truth(
        scan=0,
        points=surface(args.points, 0.02, rng),
        observation=dtu.Observation(
            mask=np.ones((110, 110, 60), dtype=bool),
            low=low,
            high=low + np.array([220.0, 220, 120]),
            resolution=2.0,
            plane=np.array([0.0, 0, 1, 100]),
        ),
    )
    predicted = torch.from_numpy(surface(args.points, 0.1, rng))
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        result = dtu.evaluate_cloud(predicted, truth, workers=args.workers)
        seconds.append(time.perf_counter() - start)
    record = {
        "points": args.points,
        "workers": args.workers,
        "seconds": seconds,
        "peak_resident_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "numbers": result.numbers(),
        "counts": result.provenance(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    args.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
