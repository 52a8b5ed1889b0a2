"""What the training of the bundled teacher is made with: drawn scenes, optimizer, quick look."""

from collections.abc import Sequence
from functools import cache, partial

import torch

from distill import MasterOptimizer
from recon_backbones.training import Parts, Pupil
from recon_backbones.training.optimizer import Scenes
from recon_eval import Answer
from recon_eval.data import Scene
from recon_eval.exams import Exam
from recon_eval.synthetic import Batch, FreshScenes

QUICK = Exam(
    world="rooms", height=224, width=224, views=(4,), scenes=16, split="validation"
)  # while it trains
FIGURES = ("abs_rel", "rotation_degrees", "direction_degrees", "auc30")


def parts(cycle: Sequence[Batch], *, world: float, seed: int = 0) -> Parts:
    """Scenes of a cycle of batches, a share `world` of them of the rich world, and Muon."""
    return Parts(
        scenes=partial(_scenes, tuple(cycle), world, seed), optimizer=MasterOptimizer, check=check
    )


def check(pupil: Pupil) -> dict[str, float]:
    """Depth and pose errors of a network in training on validation scenes."""

    def told(scene: Scene) -> Answer:
        depth, cameras = pupil.answer(scene.images)
        return Answer(depth=depth, world_to_camera=cameras)

    found = QUICK.grade("teacher", _unseen(), told)
    return {name: getattr(found, name) for name in FIGURES}


def _scenes(
    cycle: Sequence[Batch], world: float, seed: int, rank: int, device: torch.device
) -> Scenes:
    return FreshScenes(cycle, seed=seed, world=world, rank=rank, device=device).batch


@cache
def _unseen() -> list[Scene]:
    return QUICK.load()
