"""What every ready recipe costs after training and with it, on one small task, as JSON.

    python benchmarks/recipes.py --seeds 3 --out recipes.json

A net of three linear layers learns a curved function of 16 hidden causes from 256 channels
that differ widely in size, as activations of transformers do. It is then trained on for as
many steps in high precision as with each recipe. Errors are those of the held-out outputs, norm of
the difference over norm. Post-training quantization always stands beside the trained model.
"""

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn

from fp8_qat import calibrate, compare_with_ptq, convert, layer_sqnr, prepare, recipes
from fp8_qat.numerics.spec import Recipe
from fp8_qat.on_data.calibrate import needs_calibration

CAUSES, WIDTH, OUTPUTS, BATCH, HELD_OUT = 16, 256, 32, 256, 4096


class Task:
    """Inputs with channels of very different size, and a function of what caused them."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.mixing = torch.randn(CAUSES, WIDTH) * torch.randn(WIDTH).exp() / CAUSES**0.5
        self.function = torch.randn(CAUSES, OUTPUTS) / CAUSES**0.5
        self.x, self.y = self.draw(HELD_OUT)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        causes = torch.randn(count, CAUSES)
        return causes @ self.mixing, torch.tanh(causes @ self.function)

    @torch.no_grad()
    def error(self, model: nn.Module) -> float:
        return float((model(self.x) - self.y).norm() / self.y.norm())


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(),
        nn.Linear(WIDTH, OUTPUTS),
    )  # fmt: skip


def train(model: nn.Module, task: Task, steps: int, rate: float) -> nn.Module:
    """Adam with a cosine schedule on batches that are the same for every model."""
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x, y = task.draw(BATCH)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def compared(recipe: Recipe, start: nn.Module, plain: nn.Module, task: Task, steps: int) -> dict:
    """One recipe on one task: errors in per cent, noise of the layers in dB."""
    batches = [task.draw(BATCH)[0]]
    trained = copy.deepcopy(start)
    prepare(trained, recipe)
    if needs_calibration(recipe):
        calibrate(trained, batches)
    train(trained, task, steps, 3e-4)
    found = compare_with_ptq(plain, trained, task.error, batches=batches)
    noise = [ratio for ratio in layer_sqnr(trained, batches).values() if ratio is not None]
    report = convert(trained, backend="reference")
    values = sum(n * k for n, k in (layer.shape for layer in report.layers))
    bits = 8 * sum(layer.bytes_after for layer in report.layers) / values
    return {
        "high_precision_percent": 100 * found.high_precision,
        "post_training_percent": 100 * found.post_training,
        "trained_percent": 100 * found.trained,
        "layer_sqnr_db": statistics.mean(noise),
        "bits_per_weight": bits,
    }


def measure(seeds: int, steps: int) -> dict[str, dict[str, Any]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in recipes.names()}
    for seed in range(seeds):
        task = Task(seed)
        start = train(net(), task, 4 * steps, 2e-3)
        plain = train(copy.deepcopy(start), task, steps, 3e-4)
        for name in found:
            found[name].append(compared(recipes.by_name(name), start, plain, task, steps))
    return {
        name: {key: statistics.mean(one[key] for one in runs) for key in runs[0]} | {"runs": runs}
        for name, runs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = measure(arguments.seeds, arguments.steps)
    settings = vars(arguments) | {"out": arguments.out.name}
    result = {"settings": settings, "rows": rows, "machine": machine()}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in rows.items():
        sys.stdout.write(
            f"{row['high_precision_percent']:8.3f} {row['post_training_percent']:8.3f} "
            f"{row['trained_percent']:8.3f}  {row['layer_sqnr_db']:5.1f} dB  {name}\n"
        )


if __name__ == "__main__":
    main()
