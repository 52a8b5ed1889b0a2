"""Rotations and unit quaternions, scalar last: the one place where they are converted."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def rotation_from_quaternion(
    quaternion_xyzw: Float[Tensor, "*batch 4"],
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation of a quaternion of any length but zero (scalar last); zero gives the identity."""
    x, y, z, w = quaternion_xyzw.unbind(-1)
    square = quaternion_xyzw.square().sum(-1)
    s = 2 / square.clamp_min(torch.finfo(square.dtype).tiny)
    rows = (
        1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w),
        s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w),
        s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y),
    )  # fmt: skip
    return matrix_from_rows(rows)


def quaternion_from_rotation(
    rotation: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (x, y, z, w) with w >= 0, from the best-conditioned of four formulas."""
    m = rearrange(rotation, "... row column -> ... (row column)").unbind(-1)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m
    lengths = torch.stack(
        (1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22), -1
    )  # four times the square of x, y, z, w
    lengths = torch.where(lengths > 0, lengths, torch.zeros_like(lengths)).sqrt()
    lx, ly, lz, lw = (lengths.square()).unbind(-1)
    candidates = torch.stack(
        (
            torch.stack((lx, m10 + m01, m02 + m20, m21 - m12), -1),
            torch.stack((m10 + m01, ly, m12 + m21, m02 - m20), -1),
            torch.stack((m20 + m02, m21 + m12, lz, m10 - m01), -1),
            torch.stack((m21 - m12, m02 - m20, m10 - m01, lw), -1),
        ),
        dim=-2,
    ) / (2 * lengths.clamp_min(0.1)).unsqueeze(-1)
    best = lengths.argmax(-1)[..., None, None].expand(*lengths.shape[:-1], 1, 4)
    quaternion = candidates.gather(-2, best).squeeze(-2)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def matrix_from_rows(rows: tuple[Tensor, ...]) -> Tensor:
    """Nine entries, row by row, to 3x3 matrices."""
    return rearrange(torch.stack(rows, dim=-1), "... (row column) -> ... row column", row=3)
