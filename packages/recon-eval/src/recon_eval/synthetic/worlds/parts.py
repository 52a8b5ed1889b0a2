"""Collect solids and materials while a world is drawn, then turn them into tensors at once."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from recon_eval.synthetic.worlds import world as w

Rng = np.random.Generator
Vector = np.ndarray


def tensor(array: object) -> Tensor:
    """A float32 tensor of its own memory."""
    return torch.from_numpy(np.array(array, dtype=np.float32))


def turn(yaw: float, tilt: float = 0.0, roll: float = 0.0) -> Vector:
    """Rotation about the vertical, after one about x, after one about z (radians)."""
    cy, sy, ct, st = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
    cr, sr = np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    product: Vector = about_y @ about_x @ about_z
    return product


@dataclass
class Parts:
    """Solids and materials so far. Materials are numbered in the order in which they are made."""

    rng: Rng
    solids: list[tuple[int, Vector, Vector, Vector, Vector, int]] = field(default_factory=list)
    materials: list[tuple[int, Vector, float, Vector, float, float]] = field(default_factory=list)

    def material(self, *patterns: int, gloss: float | None = None) -> int:
        """Make a material of one of the patterns (of any, without a name); return its number."""
        rng = self.rng
        pattern = int(rng.choice(patterns)) if patterns else int(rng.integers(0, 9))
        base = rng.uniform(0.08, 0.9, 3)
        other = base + rng.choice([-1, 1]) * rng.uniform(0.08, 0.6, 3)
        gray = rng.beta(2, 1)  # most things are not loud
        colors = np.stack([base, other])
        colors += gray * (colors.mean(1, keepdims=True) - colors)
        frequency = np.exp(rng.uniform(np.log(0.6), np.log(3.0)))
        grain = 0.0 if pattern == w.PLAIN and rng.random() < 0.5 else rng.uniform(0.02, 0.3)
        shine = (rng.uniform(0.1, 0.6) if rng.random() < 0.3 else 0.0) if gloss is None else gloss
        self.materials.append(
            (pattern, colors.clip(0.02, 1), frequency, rng.uniform(0, 16, 3), grain, shine)
        )
        return len(self.materials) - 1

    def add(
        self,
        kind: int,
        center: object,
        size: object,
        material: int,
        *,
        rotation: Vector | None = None,
        shape: object = (1.0,),
    ) -> None:
        """Put one solid into the world."""
        numbers = np.zeros(16)
        given = np.asarray(shape, dtype=float)
        numbers[: len(given)] = given
        at, half = np.asarray(center, dtype=float), np.asarray(size, dtype=float)
        turned = np.eye(3) if rotation is None else rotation
        self.solids.append((kind, at, half, turned, numbers, material))

    def clear(self, cameras: Vector, *, margin: float = 0.25) -> None:
        """Remove what is closer to a camera (`v 3`) than `margin`: nobody stands in a tree."""

        def is_clear(solid: tuple[int, Vector, Vector, Vector, Vector, int]) -> bool:
            _, center, size, rotation, _, _ = solid
            outside = np.abs((cameras - center) @ rotation) - size
            return bool(np.linalg.norm(outside.clip(0), axis=1).min() > margin)

        self.solids = [solid for solid in self.solids if is_clear(solid)]

    def tensors(self) -> tuple[w.Solids, w.Materials]:
        """All parts as tensors; a world without a solid gets one that is below the ground."""
        if not self.solids:
            self.add(w.BOX, (0, 1e4, 0), (0.1, 0.1, 0.1), 0)
        kind, center, size, rotation, shape, material = zip(*self.solids, strict=True)
        pattern, colors, frequency, offset, grain, gloss = zip(*self.materials, strict=True)
        solids = w.Solids(
            kind=torch.tensor(kind, device="cpu"),
            center=tensor(center),
            size=tensor(size),
            rotation=tensor(rotation),
            shape=tensor(shape),
            material=torch.tensor(material, device="cpu"),
        )
        return solids, w.Materials(
            pattern=torch.tensor(pattern, device="cpu"),
            colors=tensor(colors),
            frequency=tensor(frequency),
            offset=tensor(offset),
            grain=tensor(grain),
            gloss=tensor(gloss),
        )
