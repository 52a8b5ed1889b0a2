"""One process of a distributed run, started by torchrun.

Arguments: directory of the run, file for the result, "whole" or "fail" (then process 0 dies
at step 9 the first time).
"""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed

import distill
from distill import DistillConfig, Pair, Quiet

PLACE = Path(__file__).with_name("conftest.py")
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


class Dying(Quiet):
    """Kills its process once, at step 9."""

    def __init__(self, marker):
        self._marker = marker

    def stepped(self, record):
        if record.step == 9 and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def train(directory, reporter=None):
    teacher, student = networks.make_models(dropout=0.2)
    distill.freeze_except(student, "*.proj_l.*")
    generator = torch.Generator().manual_seed(6)
    source = Seen()
    result = distill.distill(
        student,
        teacher,
        source,
        pairs=[Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)],
        config=CONFIG,
        directory=directory,
        held_out=list(torch.randn(5, 1, 6, 8, generator=generator)),
        count_images=len,
        reporter=reporter,
    )
    weights = {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad}
    images = [entry["images"] for entry in result.history if entry["kind"] == "step"]
    return {
        "weights": weights,
        "losses": result.losses,
        "metrics": result.metrics,
        "indices": source.indices,
        "images": images,
    }


def main():
    directory, output, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    dies = mode == "fail"
    told = train(directory, Dying(directory.with_suffix(".died")) if dies else None)
    rank = distributed.get_rank()
    output.with_suffix(f".{rank}").write_text(json.dumps(told))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
