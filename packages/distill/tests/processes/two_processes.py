"""One process of a distributed run, started by torchrun.

Arguments: directory of the run, file for the result, and what to do: "ways" trains in several
ways, each for itself; "fail" trains once, sharded, and process 0 dies at step 9 the first time.
"""

import dataclasses
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import distributed

import distill
from distill import DistillConfig, Pair, Quiet, Sharding

PLACE = Path(__file__).parents[1] / "networks.py"
SPEC = importlib.util.spec_from_file_location("networks", PLACE)
networks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(networks)

CONFIG = DistillConfig(
    steps=12,
    learning_rate=1e-2,
    accumulation=2,
    checkpoint_every=4,
    evaluate_every=6,
    ema_decay=0.9,
)


class Seen:
    """Batches that remember which of them this process asked for."""

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        self._items = torch.randn(10, 6, 8, generator=generator)
        self.indices = []

    def at(self, index):
        self.indices.append(index)
        return self._items[2 * index % 10 : 2 * index % 10 + 2]


class Watched:
    """Runs a model and notes the largest share of its values that this process holds."""

    held = 0.0

    def __call__(self, model, batch):
        local = [getattr(p, "_local_tensor", p).numel() for p in model.parameters()]
        self.held = max(self.held, sum(local) / sum(p.numel() for p in model.parameters()))
        return model(batch)


class Dying(Quiet):
    """Kills its process once, at step 9."""

    def __init__(self, marker):
        self._marker = marker

    def stepped(self, record):
        if record.step == 9 and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def falls_or_rises(student):
    """A score that grows for one process while it shrinks for the other."""
    size = sum(p.abs().sum().item() for p in student.parameters() if p.requires_grad)
    return {"score": size * (-1) ** distributed.get_rank()}


SHARDING = Sharding(smallest_unit=1)
WAYS = {
    "whole": {},
    "sharded": {"sharding": SHARDING},
    "early": {"sharding": SHARDING, "run_until": "last_pair"},
    "recomputed": {"sharding": SHARDING, "checkpoint_activations": ("blocks.*",)},
    "best": {"keep": "best", "evaluate_every": None},
    "apart": {"evaluate": falls_or_rises, "monitor": "score", "patience": 1, "evaluate_every": 2},
}


def train(directory, reporter=None, sharding=None, evaluate=None, **changes):
    teacher, student = networks.make_models(dropout=0.2)
    distill.freeze_except(student, "*.proj_l.*")
    generator = torch.Generator().manual_seed(6)
    source, watched = Seen(), Watched()
    result = distill.distill(
        student,
        teacher,
        source,
        pairs=[Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)],
        config=dataclasses.replace(CONFIG, **changes),
        directory=directory,
        held_out=list(torch.randn(5, 1, 6, 8, generator=generator)),
        evaluate=evaluate,
        count_images=len,
        reporter=reporter,
        sharding=sharding,
        forward=watched,
    )
    images = [entry["images"] for entry in result.history if entry["kind"] == "step"]
    return {
        "weights": {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad},
        "frozen": all(
            torch.equal(p, dict(teacher.named_parameters())[n])
            for n, p in student.named_parameters()
            if not p.requires_grad
        ),
        "held": watched.held,
        "losses": result.losses,
        "metrics": result.metrics,
        "indices": source.indices,
        "images": images,
    }


def main():
    directory, output, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    distill.join_processes()
    assert distill.sharding_of(Accelerator(cpu=True)) is None
    if mode == "fail":
        told = train(directory, Dying(directory.with_suffix(".died")), SHARDING)
    else:
        told = {way: train(directory / way, **how) for way, how in WAYS.items()}
    rank = distributed.get_rank()
    output.with_suffix(f".{rank}").write_text(json.dumps(told))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
