"""Teach a student of many views to answer as its teacher does, attention by attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from distill.batches import Batches
from distill.config import DistillConfig
from distill.fit import Fit, fit_projections
from distill.loop import distill
from distill.objectives.camera_tokens import CameraTokens
from distill.objectives.cameras import Pose
from distill.objectives.features import AttentionOutputs, Features
from distill.objectives.objective import Objective
from distill.objectives.pixels import Depth
from distill.observe.observer import Forward, call
from distill.record.pairs import Pair, Site, pair_sites
from distill.reporters.reporter import Quiet, Reporter
from distill.result import Result
from distill.resume.archive import has_run
from distill.training import Training

RIDGE = 0.01  # keeps solutions small, so that training goes on from them
NEAR = 0.3  # keeps layers near what they were, so that other scenes are answered as before
DEPTH, POSE = 2.0, 5.0  # weights of the outputs


@dataclass(frozen=True, kw_only=True)
class _Solved(DistillConfig):
    """The settings of steps that begin where layers were solved for, so that a run knows it."""

    solve_batches: int


def teach(
    student: nn.Module,
    teacher: nn.Module,
    batches: Batches,
    training: Training,
    *,
    trainable: str,
    sites: Sequence[Site],
    blocks: Sequence[str] = (),
    projection: str = "core.proj_l",
    last: str = "proj",
    forward: Forward = call,
    seed: int = 0,
    directory: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Result | None:
    """Solve for layers, then train what requires gradients, in place; None where no step is made.

    - `batches`: gives images `b v 3 y x` by number, or what else `forward` takes: images are then
      not counted.
    - `trainable`: what trains, a preset of `train_only` or "none"; it fills in what `training`
      leaves open.
    - `sites`: the attentions that both have in common, each a part of a block.
    - `blocks`: names of the blocks whose activations may be recomputed.
    - `projection`, `last`: layers of a site, solved for where "proj" or "out" trains.
    - `forward`: as `distill` takes it.
    - `directory`: where log and checkpoints go; a run that is there already is continued, with the
      same settings, `solve_batches` among them.

    Raises ValueError as `distill` and `fit_projections` do.
    """
    begun = directory is not None and has_run(directory)
    count = training.solved(trainable)
    if count and not begun:
        near = trainable == "out"
        fit_projections(
            student,
            teacher,
            batches,
            _fits(sites, last if near else projection),
            count=count,
            ridge=NEAR if near else RIDGE,
            start="as_is" if near else "zero",
            seed=seed,
            forward=forward,
        )
    if not training.taught(trainable):
        return None
    training = training.of(trainable)
    config = _config(training, blocks, seed)
    return distill(
        student,
        teacher,
        batches,
        pairs=pair_sites(sites) if _matches_attention(training) else (),
        objectives=objectives(training, sites),
        config=_Solved(**vars(config), solve_batches=count) if count else config,
        forward=forward,
        directory=directory,
        count_images=_images_in,
        reporter=reporter or Quiet(),
    )


def objectives(training: Training, sites: Sequence[Site]) -> list[Objective]:
    """What a training makes the student match."""
    blocks = [site.name.rpartition(".")[0] for site in sites]
    pairs = tuple(Pair(teacher=block, student=block) for block in blocks)
    if training.match == "tokens":
        return [Features(pairs=pairs, loss="distance"), CameraTokens(pairs=pairs, loss="distance")]
    found: list[Objective] = []
    if weight := training.attention_weight:
        found.append(AttentionOutputs(loss="relative_mse", weight=weight))
    if training.match == "cameras":
        found.append(CameraTokens(pairs=pairs, loss="relative_mse"))
    if training.match in ("outputs", "cameras"):
        found += [Depth(weight=DEPTH), Pose(weight=POSE)]
    return found


def _images_in(batch: object) -> int:
    """How many images `b v 3 y x` holds; 0 for a batch of another kind, which `forward` reads."""
    return batch.shape[:2].numel() if isinstance(batch, Tensor) and batch.ndim == 5 else 0


def _matches_attention(training: Training) -> bool:
    return training.match != "tokens" and training.attention_weight > 0


def _fits(sites: Sequence[Site], layer: str) -> list[Fit]:
    """A layer inside each site, and the module around it that is to match."""
    inside, _, name = layer.rpartition(".")
    pairs = pair_sites(sites, suffix=f".{inside}" if inside else "")
    return [Fit(pair=pair, layer=f"{pair.student}.{name}") for pair in pairs]


def _config(training: Training, blocks: Sequence[str], seed: int) -> DistillConfig:
    assert training.steps is not None and training.learning_rate is not None
    return DistillConfig(
        steps=training.steps,
        learning_rate=training.learning_rate,
        warmup_steps=min(5, training.steps // 10),
        ema_decay=training.ema_decay,
        accumulation=training.accumulation,
        checkpoint_every=training.checkpoint_every,
        checkpoint_activations=tuple(blocks) if training.recompute else (),
        run_until="last_pair" if training.match in ("attention", "tokens") else "end",
        seed=seed,
    )
