"""Batches for pretraining: each a function of seed, process and step, so that a run can resume."""

import numpy as np
import torch
from torch import Tensor

from .config import PretrainConfig
from .shards import Shards


def make_batch(
    shards: Shards, config: PretrainConfig, *, step: int, rank: int
) -> dict[str, Tensor]:
    """Draw scenes and views in random order, and disturb the colours of each scene alike."""
    phase = config.phase(step)
    rng = np.random.default_rng([config.seed, step, rank])
    views = phase.views_cycle[step % len(phase.views_cycle)]
    scenes = rng.integers(0, len(shards), phase.views_per_process // views)
    rows = []
    for scene in scenes:
        chosen = torch.from_numpy(rng.permutation(phase.shards.views)[:views].copy())
        row = {name: tensor[chosen] for name, tensor in shards[int(scene)].items()}
        rows.append(row | {"images": _recolour(row["images"], rng)})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _recolour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Permute the channels and change gain and gamma, the same for all views of a scene."""
    channels = torch.from_numpy(rng.permutation(3))
    gain, gamma = rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.25)
    table = 255 * (np.arange(256) / 255) ** gamma * gain
    lookup = torch.from_numpy(table.round().clip(0, 255).astype(np.uint8))
    return lookup[images[:, channels].int()]
