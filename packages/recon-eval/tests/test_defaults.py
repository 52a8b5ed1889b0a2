"""What a program sets as PyTorch's default type or device, for a network of its own, changes
nothing here. A device without numbers, "meta", stands in for a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from recon_eval import align, depth, points, pose
from recon_eval.data import SyntheticScenes
from recon_eval.sets.scene import Scene
from recon_eval.synthetic import SyntheticWorld

DEFAULTS = (torch.float64, torch.bfloat16, "meta")


@contextmanager
def default(kind: torch.dtype | str) -> Iterator[None]:
    before = torch.get_default_dtype()
    if isinstance(kind, str):
        torch.set_default_device(kind)
    else:
        torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)


def drawn(scene: Scene) -> list[Tensor]:
    found = [scene.images, scene.depth, scene.valid, scene.world_to_camera, scene.intrinsics]
    assert all(tensor is not None for tensor in found)
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.parametrize("kind", DEFAULTS, ids=str)
def test_scenes_are_drawn_the_same(kind: torch.dtype | str) -> None:
    rooms = SyntheticScenes("test", count=1, views=3, height=24, width=32)
    worlds = SyntheticWorld("train", count=5, views=2, height=24, width=32)
    expected = [drawn(rooms[0]), *(drawn(world) for world in worlds)]
    with default(kind):
        found = [drawn(rooms[0]), *(drawn(worlds[i]) for i in range(len(worlds)))]
    for ones, others in zip(expected, found, strict=True):
        for one, other in zip(ones, others, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("kind", DEFAULTS, ids=str)
def test_metrics_are_the_same(kind: torch.dtype | str) -> None:
    scene = SyntheticScenes("test", count=1, views=3, height=48, width=64)[0]
    near, valid, cameras, intrinsics = drawn(scene)[1:]
    off = cameras.clone()
    off[:, :, 3] += torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, 0.1, 0]])

    def measured() -> list[object]:
        cloud = points.fuse_consistent(near, valid, cameras, intrinsics, min_views=2)
        some = cloud.draw(300, seed=0).points
        fit = align.icp(some + 0.01, cloud.points, max_distance=0.5)
        line = align.align_cameras(off[:2], cameras[:2])
        return [
            depth.evaluate(near * (1 + scene.images[:, 0]), near, valid),
            pose.evaluate(off, cameras),
            pose.evaluate_trajectory(off, cameras).numbers(),
            points.evaluate(some, cloud.points, thresholds=[0.05]),
            *(fit.provenance(), line.provenance()),
            some.tolist(),
        ]

    expected = measured()
    with default(kind):
        found = measured()
    assert [str(one) for one in found] == [str(other) for other in expected]
