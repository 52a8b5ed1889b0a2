"""Cameras about a cloud of points, and how far they are from the truth."""

from dataclasses import replace

import torch
from torch import Tensor

from recon_backbones.refine.grow import Views
from recon_backbones.refine.lenses import Focal
from recon_backbones.refine.model import LOCAL, Cameras, errors, rotation_of
from recon_backbones.refine.tracks import Tracks

SIZE = (768, 512)
VIEWS, POINTS = 6, 60


def ring(seed: int = 0, views: int = VIEWS, points: int = POINTS) -> tuple[Cameras, Tracks]:
    """Cameras on an arc of 70 degrees about a cloud of points, and where each sees each."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    turn = torch.linspace(-0.6, 0.6, views).double()
    zero = torch.zeros_like(turn)
    rotation = rotation_of(torch.stack([0.05 * normal(views), turn, zero], dim=1))
    centers = torch.stack([4 * turn.sin(), 0.3 * normal(views), -4 * turn.cos()], dim=1)
    pose = torch.cat([rotation, -rotation @ centers[..., None]], dim=2)
    lens = torch.tensor([[700.0, 0, 384], [0, 700, 256], [0, 0, 1]]).double()
    cameras = Cameras.of(pose, lens.expand(views, 3, 3))
    tracks = Tracks(
        view=torch.arange(views).repeat(points),
        point=torch.arange(points).repeat_interleave(views),
        xy=torch.zeros(views * points, 2).double(),
        points=0.6 * normal(points, 3),
    )
    return cameras, replace(tracks, xy=errors(cameras, tracks)[0])


def noisy(cameras: Cameras, amount: float, seed: int = 1) -> Cameras:
    """Turned by `amount` radians, shifted by four times as much, of other focal lengths."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.randn(len(cameras), LOCAL, generator=generator, dtype=torch.float64)
    step = step * amount * torch.tensor([1.0] * 3 + [4.0] * 3 + [2.0, 2.0] + [0.0, 0.0])
    step[:, 6:8] = step[:1, 6:7]
    return cameras.moved(step)


def views_of(start: Cameras, focal: Focal = "shared") -> Views:
    count = len(start)
    return Views(start=start, sizes=[SIZE] * count, pixel=torch.ones(count).double(), focal=focal)


def apart(found: Cameras, truth: Cameras) -> tuple[float, float]:
    """Largest difference of relative rotations (entries), and of centers over their extent."""
    turns = [c.rotation @ c.rotation[0].T for c in (found, truth)]
    places = []
    for cameras in (found, truth):
        local = (cameras.centers - cameras.centers[0]) @ cameras.rotation[0].T
        places.append(local / local.norm(dim=1).max())
    return float((turns[0] - turns[1]).abs().max()), float((places[0] - places[1]).abs().max())
