"""Turning spherical harmonics of up to the second degree, in closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

_ROOT3 = 3**0.5


def basis(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Real spherical harmonics of unit directions, ordered and signed as in Gaussian splatting.

    Degree 0; degree 1 as (-y, z, -x); degree 2 as (xy, -yz, 2zz - xx - yy, -xz, xx - yy), each
    orthonormal on the sphere. Source: 3D Gaussian Splatting, arXiv 2308.04079.
    """
    x, y, z = direction.unbind(-1)
    first, second = 0.4886025119029199, 1.0925484305920792
    return torch.stack(
        (
            torch.full_like(x, 0.28209479177387814),
            -first * y,
            first * z,
            -first * x,
            second * x * y,
            -second * y * z,
            second / (2 * _ROOT3) * (2 * z * z - x * x - y * y),
            -second * x * z,
            second / 2 * (x * x - y * y),
        ),
        dim=-1,
    )


def rotate_harmonics(
    harmonics: Float[Tensor, "b v y x c 9"], rotation: Float[Tensor, "b v 3 3"]
) -> Float[Tensor, "b v y x c 9"]:
    """Coefficients of the turned function: seen along R d they give what was seen along d."""
    matrix = rotation_matrix(rotation.to(harmonics.dtype))
    return harmonics @ matrix[:, :, None, None].mT


def rotation_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 9 9"]:
    """How a rotation mixes the nine coefficients; degrees do not mix.

    Degree 1 is a vector a with value a.d, which turns to R a. Degree 2 is a symmetric traceless
    tensor T with value d.T d, which turns to R T R^T.
    """
    tensors = _second_degree(rotation)  # [*batch 5 3 3], an orthogonal basis of such tensors
    turned = rotation.unsqueeze(-3) @ tensors @ rotation.mT.unsqueeze(-3)
    second = torch.einsum("...iab,...jab->...ij", tensors, turned)
    first = _first_degree(rotation) @ rotation @ _first_degree(rotation).mT
    full = rotation.new_zeros(*rotation.shape[:-2], 9, 9)
    full[..., 0, 0] = 1
    full[..., 1:4, 1:4] = first
    full[..., 4:, 4:] = second
    return full


def _first_degree(like: Tensor) -> Float[Tensor, "3 3"]:
    """Rows: which axis, with which sign, each coefficient of degree 1 stands for."""
    return like.new_tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])


def _second_degree(like: Tensor) -> Float[Tensor, "5 3 3"]:
    """Symmetric traceless tensors of the five coefficients of degree 2, each of length one."""
    h, s = 0.5**0.5, 6**-0.5
    return like.new_tensor(
        [
            [[0, h, 0], [h, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, -h], [0, -h, 0]],
            [[-s, 0, 0], [0, -s, 0], [0, 0, 2 * s]],
            [[0, 0, -h], [0, 0, 0], [-h, 0, 0]],
            [[h, 0, 0], [0, -h, 0], [0, 0, 0]],
        ]
    )
