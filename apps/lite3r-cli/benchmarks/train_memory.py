"""Memory of distilling the projections of a full-size backbone, as this process holds it.

    python apps/lite3r-cli/benchmarks/train_memory.py --out train-memory.json
    python apps/lite3r-cli/benchmarks/train_memory.py --device cuda --out train-memory-gpu.json

Random weights: memory does not depend on them. On a CPU everything is float32 but the frozen FP8
weights; on a GPU it is what PyTorch's allocator gave out at its peak.
"""

import argparse
import resource
import time
from dataclasses import asdict
from pathlib import Path

import torch

import distill
from lite3r.distillation.teach import teach
from lite3r.shell import atomic
from lite3r.shell.environment import environment
from lite3r.student.compose import lighten
from lite3r.student.recipes import tiles
from lite3r.student.student import TeacherSpec


def peak_resident() -> int:
    """The most bytes that this process has had in memory, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Train for two steps and write the peak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", default="da3-large")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    teacher = TeacherSpec(backbone=options.backbone, weights="random").load(device=options.device)
    student = lighten(teacher, tiles())
    training = distill.Training(steps=2, recompute=options.recompute)
    images = torch.rand(options.views, 3, options.size, options.size, device=options.device)
    began = time.perf_counter()
    result = teach(
        student,
        teacher,
        distill.Views(lambda _: images, views=options.views),
        training,
        seed=0,
        directory=None,
        reporter=distill.Quiet(),
    )
    on_gpu = options.device == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_resident()
    document = {
        "settings": {**vars(options), "out": options.out.name, "recipe": student.recipe.to_dict()},
        "training": asdict(training),
        "trained_parameters": sum(p.numel() for p in student.trained().values()),
        "loss": result.losses["loss"],
        "peak_resident_bytes": peak,
        "seconds": time.perf_counter() - began,
        "environment": environment(),
    }
    atomic.write_json(options.out, document)
    print(f"{peak / 1e9:.2f} GB at the peak")


if __name__ == "__main__":
    main()
