"""Time a step of `distill` against the same passes and backward written bare.

    python packages/distill/benchmarks/overhead.py --output overhead.json

Before each step of the loop one bare step is taken, with models of its own: both meet the same
load of the machine. The overhead is the median of the pairs' ratios, less one, with a bootstrap
interval. The loop writes its log and checkpoints meanwhile. What it does once, before the first
step, is given apart. Nothing is reported unless both end with the same student.
"""

import argparse
import copy
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from distill import AttentionDistillation, DistillConfig, Pair, distill, freeze_except
from distill.step.schedule import learning_rate_at

WARM_UP = 3
RESAMPLES = 2000


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


class Bare:
    """Teacher, student, loss, backward, AdamW, as short as they can be written."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, pairs: list[Pair], config: DistillConfig
    ) -> None:
        self._student, self._teacher, self._config = student, teacher, config
        parameters = [p for p in student.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
        self._attention = AttentionDistillation(teacher, student, pairs, "relative_mse")

    def step(self, number: int, x: Tensor) -> None:
        config = self._config
        self._optimizer.zero_grad()
        with self._attention as attention:
            with attention.teacher_pass():
                self._teacher(x)
            with attention.student_pass():
                self._student(x)
            attention.loss().backward()
        self._optimizer.param_groups[0]["lr"] = learning_rate_at(
            number,
            steps=config.steps,
            peak=config.learning_rate,
            warmup_steps=config.warmup_steps,
            final=config.final_learning_rate,
        )
        self._optimizer.step()


class Clocked:
    """A source of batches that takes a bare step, timed, before it gives each batch."""

    def __init__(self, bare: Bare, x: Tensor) -> None:
        self._bare, self._x = bare, x
        self.bare: list[tuple[float, float]] = []
        self.loop: list[tuple[float, float]] = []
        self._given = clocks()

    def at(self, index: int) -> Tensor:
        came = clocks()
        if index:
            self.loop.append(since(self._given, came))
        self._bare.step(index, self._x)
        self.bare.append(since(came, clocks()))
        self._given = clocks()
        return self._x


def clocks() -> tuple[float, float]:
    """Wall and processor time in seconds."""
    return time.perf_counter(), time.process_time()


def since(before: tuple[float, float], now: tuple[float, float]) -> tuple[float, float]:
    return now[0] - before[0], now[1] - before[1]


def overhead(bare: list[float], loop: list[float]) -> dict[str, object]:
    """Return the median ratio, less one, and the bounds between which 95 % of resamples lie."""
    ratios = [b / a for a, b in zip(bare, loop, strict=True)]
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)
    )
    return {
        "median": statistics.median(ratios) - 1,
        "interval_95": [medians[int(share * RESAMPLES)] - 1 for share in (0.025, 0.975)],
    }


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train both and return what was measured."""
    torch.manual_seed(0)
    teacher = Model(options.width, options.depth).eval()
    student = copy.deepcopy(teacher).train()
    with torch.no_grad():
        for layer in student.layers:
            layer.self_attn.in_proj_weight.mul_(0.9)  # something to repair
    freeze_except(student, "*.self_attn.out_proj.*")
    other = copy.deepcopy(student)
    names = [f"layers.{i}.self_attn" for i in range(options.depth)]
    pairs = [Pair(teacher=name, student=name) for name in names]
    x = torch.randn(options.views, options.tokens, options.width)
    config = DistillConfig(steps=options.steps + WARM_UP + 1, learning_rate=1e-4)
    source = Clocked(Bare(other, copy.deepcopy(teacher), pairs, config), x)
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        result = distill(
            student, teacher, source, pairs=pairs, config=config, directory=Path(directory)
        )
        whole = time.perf_counter() - began
    check_same(student, other)
    bare, loop = source.bare[WARM_UP:-1], source.loop[WARM_UP:]
    kinds = {"wall": 0, "processor": 1}
    return {
        "overhead": {
            kind: overhead([t[i] for t in bare], [t[i] for t in loop]) for kind, i in kinds.items()
        },
        "once_seconds": whole - result.seconds,
        "seconds": {
            kind: {"bare": [t[i] for t in bare], "loop": [t[i] for t in loop]}
            for kind, i in kinds.items()
        },
        "loss": [e["losses"]["loss"] for e in result.history if e["kind"] == "step"][:: len(bare)],
    }


def check_same(student: nn.Module, other: nn.Module) -> None:
    """Raise ValueError unless both training loops did the same."""
    pairs = zip(student.parameters(), other.parameters(), strict=True)
    error = max(float((a - b).abs().max()) for a, b in pairs)
    if error > 1e-6:
        raise ValueError(f"The students differ by {error:.2g}: nothing is reported.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=257)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100, help="pairs of steps")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = run(options) | {
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
