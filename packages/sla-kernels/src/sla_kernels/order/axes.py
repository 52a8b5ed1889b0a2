"""The directions along which tokens differ most: what an order looks at."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def principal_axes(x: Float[Tensor, "b n c"], axes: int) -> Float[Tensor, "c axes"]:
    """The first principal axes of all tokens together, largest variance first.

    In float64 inside, so that the same tokens give the same axes on every device, and each axis
    points to where its largest entry is positive. Waits for the device; compute axes once and give
    them to `order_tokens` where that must not be.

    Raises ValueError where there are more axes than features.
    """
    check_axes(axes, x.shape[2])
    rows = rearrange(x.detach().double(), "b n c -> (b n) c")
    rows = rows - rows.mean(0)
    return axes_of(rows.T @ rows, axes).to(x.dtype)


def axes_of(covariance: Float[Tensor, "c c"], axes: int) -> Float[Tensor, "c a"]:
    """The first eigenvectors; each points to where its largest entry is positive."""
    found = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :axes]
    signs = found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
    return found * torch.where(signs == 0, 1, signs)


def check_axes(axes: int, features: int) -> None:
    """Refuse a number of axes that the features do not have."""
    if isinstance(axes, bool) or not isinstance(axes, int) or not 1 <= axes <= features:
        raise ValueError(
            f"axes={axes!r} with {features} features; it must be a whole number from 1 to the "
            "number of features: pass axes=8 or fewer"
        )
