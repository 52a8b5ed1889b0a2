"""Where rays enter and leave the convex unit shapes; `enter > leave` where they miss."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.synthetic.worlds import world as w

Span = tuple[Float[Tensor, "*p r"], Float[Tensor, "*p r"]]


def span(
    kind: int,
    origin: Float[Tensor, "p _ 3"],
    direction: Float[Tensor, "p r 3"],
    shape: Float[Tensor, "p 16"],
) -> Span:
    """The part of each ray inside a unit shape; `origin` may have one ray for all."""
    if kind == w.BOX:
        enter, leave = _slabs(origin, direction)
        return enter.amax(-1), leave.amin(-1)
    if kind == w.BALL:
        return ball(origin, direction, 1.0)
    if kind == w.CONE:
        return _cone(origin, direction, shape[:, :1])
    return _gable(origin, direction)


def ball(origin: Tensor, direction: Tensor, radius: float) -> Span:
    """The part of each ray inside a ball round the origin."""
    a = direction.square().sum(-1).clamp_min(1e-12)
    b = (origin * direction).sum(-1)
    under = b * b - a * (origin.square().sum(-1) - radius * radius)
    root = under.clamp_min(0).sqrt()
    return torch.where(under > 0, (-b - root) / a, torch.inf), (-b + root) / a


def _slabs(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Enter and leave -1 <= p <= 1, each axis alone."""
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    middle, half = -origin * inverse, inverse.abs()
    return middle - half, middle + half


def _cone(origin: Tensor, direction: Tensor, top: Tensor) -> Span:
    """Radius 1 at y = 1, `top` at y = -1. A cylinder is the cone with equal ends."""
    middle, slope = (1 + top) / 2, (1 - top) / 2
    (ox, oy, oz), (dx, dy, dz) = origin.unbind(-1), direction.unbind(-1)
    radius = middle + slope * oy
    a = dx * dx + dz * dz - (slope * dy).square()
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b = ox * dx + oz * dz - slope * dy * radius
    c = ox * ox + oz * oz - radius * radius
    under = b * b - a * c
    root = under.clamp_min(0).sqrt()
    first, last = (-b - root) / a, (-b + root) / a
    first, last = torch.minimum(first, last), torch.maximum(first, last)
    low, high = _slabs(origin[..., 1], direction[..., 1])
    # A steep ray is inside where it is before `first` or after `last`: one of them is in the slab.
    before = torch.minimum(high, first)
    is_before = low < before
    real = under > 0
    enter = torch.where(real, torch.where(is_before, low, torch.maximum(low, last)), low)
    leave = torch.where(real, torch.where(is_before, before, high), high)
    flat = torch.maximum(low, torch.where(real, first, torch.inf))
    return torch.where(a < 0, enter, flat), torch.where(a < 0, leave, torch.minimum(high, last))


def _gable(origin: Tensor, direction: Tensor) -> Span:
    """|z| <= 1, y <= 1, and y >= 2 |x| - 1."""
    low, high = _slabs(origin[..., 2], direction[..., 2])
    x, y = origin[..., 0], origin[..., 1]
    dx, dy = direction[..., 0], direction[..., 1]
    for offset, slope in (
        (y - 1, dy),
        (2 * x - y - 1, 2 * dx - dy),
        (-2 * x - y - 1, -2 * dx - dy),
    ):
        slope = torch.where(slope.abs() < 1e-9, 1e-9, slope)
        at = -offset / slope
        low = torch.where(slope < 0, torch.maximum(low, at), low)
        high = torch.where(slope > 0, torch.minimum(high, at), high)
    return low, high


def normals(
    kind: int, points: Float[Tensor, "p 3"], shape: Float[Tensor, "p 16"]
) -> Float[Tensor, "p 3"]:
    """Outward normals, of any length, at points of a convex unit shape."""
    x, y, z = points.unbind(-1)
    nothing = torch.zeros_like(x)
    if kind == w.BOX:
        largest = points.abs().amax(-1, keepdim=True)
        return torch.where(points.abs() == largest, points.sign(), 0)
    if kind == w.BALL:
        return points
    if kind == w.CONE:
        slope, middle = (1 - shape[:, 0]) / 2, (1 + shape[:, 0]) / 2
        side = middle + slope * y
        is_cap = 1 - y.abs() < side - (x * x + z * z).sqrt()
        around = torch.stack([x, -slope * side, z], dim=-1)
        return torch.where(is_cap[:, None], torch.stack([nothing, y, nothing], dim=-1), around)
    gaps = torch.stack([1 - z.abs(), 1 - y, (y + 1 - 2 * x.abs()) / 5**0.5])
    faces = torch.stack(
        [
            torch.stack([nothing, nothing, z.sign()], dim=-1),
            torch.stack([nothing, nothing + 1, nothing], dim=-1),
            torch.stack([2 * x.sign(), nothing - 1, nothing], dim=-1),
        ]
    )
    nearest = gaps.argmin(0)[None, :, None].expand(1, -1, 3)
    return faces.gather(0, nearest)[0]
