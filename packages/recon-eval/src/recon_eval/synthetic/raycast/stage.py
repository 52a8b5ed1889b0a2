"""Several worlds side by side, as one set of tensors on one device."""

from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.worlds import world as w

Record = TypeVar("Record", w.Solids, w.Materials, w.Ground, w.Light)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All solids and materials one after another; grounds and lights stacked, one a world.

    `scene` says which world a solid belongs to, `radius` bounds it from its center.
    """

    solids: w.Solids
    scene: Int[Tensor, " o"]
    radius: Float[Tensor, " o"]
    materials: w.Materials
    ground: w.Ground
    light: w.Light


def make_stage(worlds: list[w.World], device: torch.device) -> Stage:
    """Join worlds; material numbers go on from world to world."""
    solids = _join([world.solids for world in worlds], torch.cat, device)
    ground = _join([world.ground for world in worlds], torch.stack, device)
    lengths = [len(world.materials.pattern) for world in worlds]
    before = torch.tensor([0, *lengths], device="cpu").cumsum(0)
    scene = torch.cat(
        [torch.full((len(world.solids.kind),), i, device="cpu") for i, world in enumerate(worlds)]
    ).to(device)
    offset = before.to(device)
    solids.material.add_(offset[scene])
    ground.material.add_(offset[:-1, None])
    return Stage(
        solids=solids,
        scene=scene,
        radius=_radius(solids),
        materials=_join([world.materials for world in worlds], torch.cat, device),
        ground=ground,
        light=_join([world.light for world in worlds], torch.stack, device),
    )


def _join(records: list[Record], how: object, device: torch.device) -> Record:
    assert callable(how)
    joined = {
        field.name: how([getattr(record, field.name) for record in records]).to(device)
        for field in fields(records[0])
    }
    return type(records[0])(**joined)


def _radius(solids: w.Solids) -> Float[Tensor, " o"]:
    """A ball round the center that holds the whole solid; see `Solids` for the unit shapes."""
    size, kind = solids.size, solids.kind
    around = torch.maximum(size[:, 0], size[:, 2])
    tube = solids.shape[:, 0] * size[:, 1]
    radius = size.norm(dim=1)  # boxes, and all that fits into one
    radius = torch.where(kind == w.BALL, size.amax(1), radius)
    radius = torch.where(kind == w.BLOB, 1.4 * size.amax(1), radius)
    radius = torch.where(kind == w.CONE, (around.square() + size[:, 1].square()).sqrt(), radius)
    return torch.where(kind == w.TORUS, (around.square() + tube.square()).sqrt(), radius)
