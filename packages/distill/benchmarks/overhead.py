"""Time a step of `distill` against the same passes and backward written bare.

    python packages/distill/benchmarks/overhead.py --output overhead.json

Both train the same student on the same batches, in turn, block by block, so that a change of
the machine's load meets both; the median of the blocks' ratios is the overhead. Processor time
is given too, which other programs on the machine disturb less.
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from distill import AttentionDistillation, DistillConfig, Pair, distill, freeze_except


class Model(nn.Module):
    """A transformer of the size of da3-tiny's trunk: width 192, 12 layers."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        make = nn.TransformerEncoderLayer
        self.layers = nn.ModuleList(
            make(width, 3, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def bare_steps(
    student: nn.Module, teacher: nn.Module, pairs: list[Pair], x: Tensor, steps: int
) -> None:
    """Teacher, student, loss, backward, AdamW, as short as they can be written."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    with AttentionDistillation(teacher, student, pairs, "relative_mse") as attention:
        for _ in range(steps):
            optimizer.zero_grad()
            with attention.teacher_pass():
                teacher(x)
            with attention.student_pass():
                student(x)
            attention.loss().backward()
            optimizer.step()


def clock(name: str, times: dict[str, list[float]], work: Callable[[], object]) -> None:
    """Append the wall and processor time of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    times[name].append(time.perf_counter() - wall)
    times[f"{name}_cpu"].append(time.process_time() - cpu)


def overhead(bare: list[float], loop: list[float]) -> float:
    """Return the median ratio, less one."""
    return statistics.median(b / a for a, b in zip(bare, loop, strict=True)) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=257)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20, help="steps in a block")
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    teacher = Model(options.width, options.depth).eval()
    student = copy.deepcopy(teacher).train()
    freeze_except(student, "*.self_attn.out_proj.*")
    names = [f"layers.{i}.self_attn" for i in range(options.depth)]
    pairs = [Pair(teacher=name, student=name) for name in names]
    x = torch.randn(options.views, options.tokens, options.width)
    config = DistillConfig(steps=options.steps, learning_rate=1e-4)
    times: dict[str, list[float]] = {name: [] for name in ("bare", "loop", "bare_cpu", "loop_cpu")}
    for _ in range(options.blocks + 1):
        clock("bare", times, lambda: bare_steps(student, teacher, pairs, x, options.steps))
        clock("loop", times, lambda: distill(student, teacher, [x], pairs=pairs, config=config))
    seconds = {name: [t / options.steps for t in block[1:]] for name, block in times.items()}
    report = {
        "overhead": overhead(seconds["bare"], seconds["loop"]),
        "overhead_cpu": overhead(seconds["bare_cpu"], seconds["loop_cpu"]),
        "seconds_per_step": seconds,
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }
    text = json.dumps(report, indent=1)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
