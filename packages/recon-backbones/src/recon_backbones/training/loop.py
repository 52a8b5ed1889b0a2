"""The training loop: data-parallel processes that stay equal, and checkpoints that resume."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from recon_backbones.registry import list_backbones
from recon_backbones.training.begin import begin
from recon_backbones.training.objective import training_loss, use_fast_training
from recon_backbones.training.optimizer import Check, MakeOptimizer, MakeScenes, Optimizer
from recon_backbones.training.pupils import Pupil, pupil_of
from recon_backbones.training.schedule import Schedule
from recon_backbones.training.state import claim, resume, save_state

FREE = ("steps", "minutes", "save_minutes", "check_every")
"""Parts of a schedule that may be others when a training goes on: how long it is, what it tells."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a training lives and where it starts from.

    `start` is "random", "bundled", a file of weights, or another backbone to begin with (`begin`).
    With `until` it stops before that step, and a later call goes on from the last state saved.
    Raises ValueError for processes that cannot be.
    """

    folder: Path
    schedule: Schedule
    backbone: str = "da3-tiny"
    start: str = "bundled"
    processes: int = 1
    device: str = "cpu"
    until: int | None = None

    def __post_init__(self) -> None:
        if self.processes < 1 or (self.processes > 1 and self.device != "cpu"):
            raise ValueError(
                f"processes={self.processes}; it must be at least 1, and 1 on a GPU: lower it"
            )

    @property
    def settings(self) -> dict[str, object]:
        """What must be the same, by name, where a training goes on."""
        named = self.start in ("random", "bundled", "hub", *list_backbones())
        shape = {k: v for k, v in asdict(self.schedule).items() if k not in FREE}
        start = self.start if named else str(Path(self.start).resolve())
        return {"start": start, "backbone": self.backbone, **shape}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training is made with; several processes need functions that can be pickled.

    - `scenes`: makes what a process learns from, by generators of its own.
    - `optimizer`: makes what moves the weights.
    - `check`: says every `check_every` steps how good the network is.
    """

    scenes: MakeScenes
    optimizer: MakeOptimizer
    check: Check | None = None


TOLD = {kind.__name__: kind for kind in (FloatingPointError, OSError)}  # by other processes


def train(run: Run, parts: Parts) -> None:
    """Train with one thread a process on a CPU; continue where the folder left off.

    Writes `state.safetensors` (masters, averages and optimizer), `run.json` (settings),
    `log.jsonl`, `checks.jsonl`. A folder of before there was `run.json` is taken on as it is.
    Raises ValueError where the folder holds a training of other settings, FloatingPointError for
    gradients that are not finite, and OSError where the disk refuses what was learned.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    claim(run.folder, run.settings)
    if run.processes == 1:
        _train(run, parts, 0)
        return
    (run.folder / "processes").unlink(missing_ok=True)
    try:
        spawn(_process, (run, parts), nprocs=run.processes, daemon=True)  # a stop ends them too
    except ProcessRaisedException as error:  # it holds the other process's traceback as text
        kind, _, said = str(error).rstrip().rpartition("\n")[2].partition(": ")
        if kind not in TOLD:
            raise
        raise TOLD[kind](said) from error


def _process(rank: int, run: Run, parts: Parts) -> None:
    torch.set_num_threads(1)
    meeting = (run.folder / "processes").resolve()
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=run.processes,
        timeout=timedelta(hours=4),
    )
    _train(run, parts, rank)
    dist.destroy_process_group()


def _train(run: Run, parts: Parts, rank: int) -> None:
    device, schedule = torch.device(run.device), run.schedule
    pupil, optimizer = make_pupil(run, parts.optimizer)
    step, before = resume(run.folder, optimizer)
    scenes = parts.scenes(rank, device)
    began = saved = time.monotonic()
    while True:
        spent = _agreed(before + (time.monotonic() - began) / 60)
        if schedule.is_over(step, spent) or (run.until is not None and step >= run.until):
            break
        rate = schedule.rate(step, spent)
        way = schedule.way(step, trained=run.start != "random")
        loss, terms = training_loss(pupil, scenes(step), way)
        loss.backward()
        optimizer.step(_mean_gradients(pupil), rate)
        step += 1
        if rank == 0 and step % 10 == 1:
            _log(run.folder, step, spent, rate, terms)
        if rank == 0 and time.monotonic() - saved > 60 * schedule.save_minutes:
            save_state(run.folder, optimizer, step=step, minutes=spent)
            saved = time.monotonic()
        if rank == 0 and parts.check is not None and step % schedule.check_every == 0:
            found = parts.check(pupil)
            _append(run.folder / "checks.jsonl", {"step": step, "minutes": spent} | found)
    if rank == 0:
        save_state(run.folder, optimizer, step=step, minutes=spent)


def make_pupil(run: Run, optimizer: MakeOptimizer) -> tuple[Pupil, Optimizer]:
    """Build the backbone with bf16 weights, and its optimizer on float32 ones."""
    device, schedule = torch.device(run.device), run.schedule
    backbone = begin(run.backbone, run.start, seed=schedule.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(schedule.seed)
        pupil = pupil_of(backbone)
    pupil.train().to(device)
    blocks = pupil.blocks().items()
    hidden = [f"{at}.{n}" for at, b in blocks for n, p in b.named_parameters() if p.ndim == 2]
    made = optimizer(pupil, hidden=hidden, average=schedule.average)
    pupil.bfloat16()
    use_fast_training(pupil, device)
    return pupil, made


def _agreed(minutes: float) -> float:
    """The clock of the first process, for all."""
    if not dist.is_initialized():
        return minutes
    clock = torch.tensor(minutes, dtype=torch.float64, device="cpu")
    dist.broadcast(clock, 0)
    return float(clock)


def _mean_gradients(pupil: Pupil) -> dict[str, Tensor]:
    """Average the gradients of all processes, clip their norm to one, and clear them.

    Raises FloatingPointError if they are not finite.
    """
    grads = {name: p.grad for name, p in pupil.named_parameters() if p.grad is not None}
    flat = torch.cat([g.flatten() for g in grads.values()])
    if dist.is_initialized():
        dist.all_reduce(flat)
        flat = flat.float().div_(dist.get_world_size())
    mean = flat.float()
    norm = float(mean.norm())
    if not norm < float("inf"):
        raise FloatingPointError(
            f"gradient={norm}; it must be finite: train at a lower peak in another folder, from "
            "the weights of the last state (export_weights)"
        )
    mean.mul_(min(1.0, 1.0 / (norm + 1e-6)))
    parts = mean.split([g.numel() for g in grads.values()])
    pupil.zero_grad(set_to_none=True)
    return {
        name: part.view(grad.shape) for (name, grad), part in zip(grads.items(), parts, strict=True)
    }


def _log(folder: Path, step: int, minutes: float, rate: float, parts: dict[str, Tensor]) -> None:
    record = {"step": step, "minutes": round(minutes, 2), "rate": round(rate, 5)}
    losses = {name: round(float(value), 4) for name, value in parts.items()}
    _append(folder / "log.jsonl", record | losses)


def _append(path: Path, record: Mapping[str, int | float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
