"""The pretraining loop: data-parallel processes that stay equal, and checkpoints that resume."""

import json
import time
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from recon_backbones.blocks.attention import Attention, MatmulAttention
from recon_backbones.da3.config import da3_tiny
from recon_backbones.da3.model import DA3Net

from .batches import make_batch
from .config import PretrainConfig
from .monitor import check
from .muon import MasterOptimizer
from .objective import pretraining_loss
from .probe import Pupil
from .shards import Shards


def pretrain(
    folder: Path,
    shard_folder: Path,
    config: PretrainConfig,
    *,
    processes: int,
    until: int | None = None,
) -> None:
    """Train with that many processes of one thread each; continue where `folder` left off.

    Writes `state.safetensors` (masters and optimiser), `log.jsonl` and `checks.jsonl`. With `until`
    it stops before that step, and a later call goes on from the last state saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / "processes"
    meeting.unlink(missing_ok=True)
    last = config.steps if until is None else min(until, config.steps)
    arguments = (processes, meeting, folder, shard_folder, config, last)
    spawn(_process, arguments, nprocs=processes)


def _process(
    rank: int,
    processes: int,
    meeting: Path,
    folder: Path,
    shard_folder: Path,
    config: PretrainConfig,
    last: int,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=processes
    )
    pupil, optimizer = make_pupil(config.seed)
    shards: Shards | None = None
    began = time.monotonic()
    for step in range(_resume(folder, optimizer), last):
        phase = config.phase(step)
        if shards is None or shards.config != phase.shards:
            shards = Shards(shard_folder, phase.shards)
        parts = _step(pupil, optimizer, shards, config, step, rank)
        if rank == 0:
            _after_step(folder, pupil, optimizer, config, step, parts, time.monotonic() - began)
    dist.destroy_process_group()


def make_pupil(seed: int) -> tuple[Pupil, MasterOptimizer]:
    """Build da3-tiny from scratch with bf16 weights, and its optimiser."""
    torch.manual_seed(seed)
    network = DA3Net(da3_tiny())
    network.init_weights()
    for module in network.modules():
        if isinstance(module, Attention):
            module.core = MatmulAttention()
    pupil = Pupil(network)
    optimizer = MasterOptimizer(pupil, hidden=_hidden_matrices(pupil))
    return pupil.bfloat16(), optimizer


def _hidden_matrices(pupil: Pupil) -> list[str]:
    prefix = "network.backbone.pretrained.blocks."
    named = pupil.named_parameters()
    return [name for name, p in named if p.ndim == 2 and name.startswith(prefix)]


def _step(
    pupil: Pupil,
    optimizer: MasterOptimizer,
    shards: Shards,
    config: PretrainConfig,
    step: int,
    rank: int,
) -> dict[str, float]:
    batch = make_batch(shards, config, step=step, rank=rank)
    loss, parts = pretraining_loss(
        pupil,
        batch,
        posed=step % config.posed_every == config.posed_every - 1,
        dense=step % config.phase(step).dense_every == 0,
    )
    loss.backward()
    optimizer.step(_mean_gradients(pupil), config.rate(step))
    return parts


def _mean_gradients(pupil: Pupil) -> dict[str, Tensor]:
    """Average the gradients of all processes, clip their norm to one, and clear them."""
    grads = {name: p.grad for name, p in pupil.named_parameters() if p.grad is not None}
    flat = torch.cat([g.flatten() for g in grads.values()])
    dist.all_reduce(flat)
    mean = flat.float().div_(dist.get_world_size())
    mean.mul_(min(1.0, 1.0 / float(mean.norm() + 1e-6)))
    parts = mean.split([g.numel() for g in grads.values()])
    pupil.zero_grad(set_to_none=True)
    return {
        name: part.view(grad.shape) for (name, grad), part in zip(grads.items(), parts, strict=True)
    }


def _after_step(
    folder: Path,
    pupil: Pupil,
    optimizer: MasterOptimizer,
    config: PretrainConfig,
    step: int,
    parts: dict[str, float],
    seconds: float,
) -> None:
    if step % 10 == 0:
        record = {"step": step, "rate": config.rate(step), "seconds": round(seconds, 1)}
        _append(folder / "log.jsonl", record | {k: round(v, 4) for k, v in parts.items()})
    if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
        _save(folder, optimizer, step + 1)
    if (step + 1) % config.check_every == 0 or step + 1 == config.steps:
        found = check(pupil.network, size=config.phase(step).shards.size)
        _append(folder / "checks.jsonl", {"step": step + 1, "seconds": round(seconds, 1)} | found)


def _append(path: Path, record: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _save(folder: Path, optimizer: MasterOptimizer, step: int) -> None:
    partial = folder / "state.partial"
    save_file(optimizer.state() | {"step": torch.tensor(step)}, partial)
    partial.replace(folder / "state.safetensors")


def _resume(folder: Path, optimizer: MasterOptimizer) -> int:
    path = folder / "state.safetensors"
    if not path.exists():
        return 0
    tensors = load_file(path)
    step = int(tensors.pop("step"))
    optimizer.load(tensors)
    return step
