"""A process that starts training runs in children and kills them.

One JSON request a line on standard input: where the run is, and when its process is to die,
after some seconds or at a numbered system call that makes a checkpoint durable. Importing
PyTorch once and forking makes a kill cheap enough to try hundreds.
"""

import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

import distill
from distill import DistillConfig, Pair

PLACE = Path(__file__).parents[1] / "networks.py"
SPEC = importlib.util.spec_from_file_location("networks", PLACE)
networks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(networks)

CONFIG = DistillConfig(
    steps=14,
    learning_rate=1e-2,
    warmup_steps=2,
    accumulation=2,
    ema_decay=0.9,
    checkpoint_every=3,
    evaluate_every=4,
    keep_last=2,
)


def train(directory):
    teacher, student = networks.make_models(dropout=0.2)
    distill.freeze_except(student, "*.proj_l.*")
    generator = torch.Generator().manual_seed(5)
    items = torch.randn(9, 6, 8, generator=generator)
    result = distill.distill(
        student,
        teacher,
        distill.Shuffled(items, batch_size=2, seed=1),
        pairs=[Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)],
        config=CONFIG,
        directory=directory,
        held_out=items.split(3),
    )
    state = {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad}
    log = [{k: v for k, v in e.items() if k != "seconds"} for e in result.history]
    (directory / "student.json").write_text(json.dumps([state, log]))


def die_at(number):
    """Kill this process before its `number`th durable system call, from 1."""
    count = 0

    def wrap(call):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, wrap(getattr(os, name)))


def attempt(directory, after, call):
    child = os.fork()
    if child == 0:
        if call:
            die_at(call)
        train(Path(directory))
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as warm_up:
        train(Path(warm_up))
    for line in sys.stdin:
        request = json.loads(line)
        began = time.perf_counter()
        code = attempt(request["directory"], request.get("after"), request.get("call"))
        sys.stdout.write(json.dumps({"code": code, "seconds": time.perf_counter() - began}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
