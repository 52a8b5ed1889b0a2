"""Synthetic scenes rendered once to disk, in shards that a training reads over and over.

A shard is a safetensors file of consecutive scenes: images uint8, depth float16 (metres), cameras
float32. A shard is written whole or not at all, so an interrupted rendering goes on where it was.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recon_eval.synthetic import SyntheticScenes


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Which scenes to render, and how."""

    scenes: int
    views: int
    size: int
    seed: int = 0
    scenes_per_shard: int = 50

    def __post_init__(self) -> None:
        if self.scenes % self.scenes_per_shard:
            raise ValueError(
                f"scenes is {self.scenes}: it must be a multiple of {self.scenes_per_shard}"
            )

    @property
    def count(self) -> int:
        """How many shards there are."""
        return self.scenes // self.scenes_per_shard

    def path(self, folder: Path, shard: int) -> Path:
        """Where one shard lies; the name holds everything that its content depends on."""
        return folder / f"train-{self.seed}-{self.size}px-{self.views}v-{shard:05d}.safetensors"


def render_shards(folder: Path, config: ShardConfig, *, workers: int) -> Iterator[int]:
    """Render the missing shards with that many processes; yield each number when it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(config.count) if not config.path(folder, i).exists()]
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(_render_shard, folder, config, i) for i in missing]
        for job in as_completed(jobs):
            yield job.result()


def _render_shard(folder: Path, config: ShardConfig, shard: int) -> int:
    scenes = SyntheticScenes(
        "train",
        count=config.scenes,
        views=config.views,
        height=config.size,
        width=config.size,
        seed=config.seed,
    )
    first = shard * config.scenes_per_shard
    items = [scenes[i] for i in range(first, first + config.scenes_per_shard)]
    tensors = {
        "images": torch.stack([(s.images * 255).round().to(torch.uint8) for s in items]),
        "depth": torch.stack([s.depth.half() for s in items if s.depth is not None]),
        "world_to_camera": torch.stack(
            [s.world_to_camera for s in items if s.world_to_camera is not None]
        ),
        "intrinsics": torch.stack([s.intrinsics for s in items if s.intrinsics is not None]),
    }
    path = config.path(folder, shard)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, partial)
    partial.replace(path)
    return shard


class Shards:
    """All shards of one rendering, memory-mapped: scene `i` as a dictionary of tensors."""

    def __init__(self, folder: Path, config: ShardConfig) -> None:
        self.config = config
        self._shards = [load_file(config.path(folder, i)) for i in range(config.count)]

    def __len__(self) -> int:
        return self.config.scenes

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        shard, row = divmod(index, self.config.scenes_per_shard)
        return {name: tensor[row] for name, tensor in self._shards[shard].items()}
