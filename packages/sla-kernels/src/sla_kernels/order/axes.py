"""The directions along which tokens differ most: what an order looks at."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

NO_FLOAT64 = ("mps",)


def principal_axes(x: Float[Tensor, "b n c"], axes: int) -> Float[Tensor, "c axes"]:
    """The first principal axes of all tokens together, largest variance first.

    In float64 inside, so that the same tokens give the same axes on every device, and each axis
    points to where its largest entry is positive. Waits for the device; compute axes once and give
    them to `order_tokens` where that must not be.

    Raises ValueError where there are more axes than features, or x is no such tensor.
    """
    if not isinstance(x, Tensor) or x.dim() != 3 or not x.is_floating_point():
        found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"x={found}; it must be a floating-point tensor (b, n, c): put the keys of all heads "
            "side by side"
        )
    check_axes(axes, x.shape[2])
    rows = rearrange(in_float64(x.detach()), "b n c -> (b n) c")
    rows = rows - rows.mean(0)
    return axes_of(rows.T @ rows, axes).to(x.dtype).to(x.device)


def along(
    x: Float[Tensor, "*lead n c"], axes: Float[Tensor, "*more c a"]
) -> Float[Tensor, "*lead n a"]:
    """Tokens along axes, in the type of x; equal tokens get equal features.

    Products with one column round rows in different ways, so one axis is taken twice.
    """
    axes, number = axes.to(x), axes.shape[-1]
    if number > 1:
        return x @ axes
    return (x @ axes.expand(*axes.shape[:-1], 2))[..., :1].contiguous()


def in_float64(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The same in float64, on the CPU where a device has none."""
    return (x.cpu() if x.device.type in NO_FLOAT64 else x).double()


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
