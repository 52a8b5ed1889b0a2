"""Angles between rotations and between directions, exact down to zero.

arccos of a value next to 1 loses half the digits: in float32 it returns 0 for 0.01 degrees. Both
functions use atan2 of sine and cosine, in float64.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_angle_degrees(
    first: Float[Tensor, "*p 3 3"], second: Float[Tensor, "*p 3 3"]
) -> Float[Tensor, "*p"]:
    """Return the angle of `first`^T `second`, in [0, 180] degrees."""
    relative = first.double().mT @ second.double()
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    skew = relative - relative.mT
    axis = torch.stack((skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]), dim=-1)
    return torch.rad2deg(torch.atan2(axis.norm(dim=-1), trace - 1))


def direction_angle_degrees(
    first: Float[Tensor, "*p 3"], second: Float[Tensor, "*p 3"]
) -> Float[Tensor, "*p"]:
    """Return the angle between two directions, in [0, 180] degrees; NaN where one is zero."""
    a, b = first.double(), second.double()
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    sine = torch.linalg.cross(a, b, dim=-1).norm(dim=-1)
    return torch.rad2deg(torch.atan2(sine, (a * b).sum(-1)))
