"""Put tokens in an order in which neighbors are alike: the leaves of a tree of medians."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.axes import along, check_axes, principal_axes
from sla_kernels.runtime.autocast import in_own_type
from sla_kernels.runtime.checks import check_tensor
from sla_kernels.runtime.products import at_least_float32


@dataclass(frozen=True, kw_only=True)
class TokenOrder:
    """A permutation of the tokens of each scene.

    - `positions`: the caller's position of the token that stands at each place.
    - `sizes`: runs of these many tokens, from a place that is a multiple of it, are alike; each
      size is a multiple of the one before.
    """

    positions: Int64[Tensor, "b n"]
    sizes: tuple[int, ...]

    def places(self) -> Int64[Tensor, "b n"]:
        """Where each of the caller's tokens stands: the permutation turned round."""
        return inverse(self.positions)

    def arrange(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Put tokens in this order."""
        return x.gather(1, self.positions[..., None].expand_as(x))

    def restore(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Put tokens back where the caller had them."""
        return x.gather(1, self.places()[..., None].expand_as(x))


def order_tokens(
    x: Float[Tensor, "b n c"],
    leaf: int | tuple[int, ...],
    *,
    axes: int | Float[Tensor, "c a"] = 8,
) -> TokenOrder:
    """Order the tokens of each scene so that runs of `leaf` tokens are alike in their features.

    - `x`: any features; for attention, the keys of all heads side by side.
    - `leaf`: the length of a run, or several, each a multiple of the one before.
    - `axes`: how many principal axes of x to look at, or the axes themselves. Axes that are given
      cost no eigenvectors, and nothing then waits for the device.

    The order is deterministic; equal tokens keep the order they had. It is a constant to autograd.

    Raises ValueError where x is not (b, n, c) of finite floats, sizes do not nest, or axes exceed
    the features.
    """
    sizes = (leaf,) if isinstance(leaf, int) else tuple(leaf)
    check_features(x)
    check_sizes("leaf", sizes)
    if isinstance(axes, Tensor):
        check_given(axes, x.shape[2])
        if axes.device != x.device:
            raise ValueError(
                f"axes are on {axes.device} and x on {x.device}; they must agree: pass "
                "axes.to(x.device)"
            )
    with torch.no_grad(), in_own_type(x):
        given = axes if isinstance(axes, Tensor) else principal_axes(x, axes)
        positions = positions_of(along(x, given), sizes)
    return TokenOrder(positions=positions, sizes=sizes)


def positions_of(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Order tokens by their few features, which should be finite."""
    features = features.to(at_least_float32(features))
    positions: Tensor = torch.ops.sla_kernels.halve_tokens(features, sizes)
    return positions


def inverse(order: Int64[Tensor, "b n"]) -> Int64[Tensor, "b n"]:
    """Turn permutations round."""
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def check_given(axes: Tensor, features: int) -> None:
    """Refuse axes that do not fit the features."""
    if axes.dim() != 2 or axes.shape[0] != features or not axes.is_floating_point():
        raise ValueError(
            f"axes has shape {tuple(axes.shape)} and dtype {axes.dtype}; it must be floating point "
            f"of shape ({features}, axes): compute it with principal_axes on such features"
        )
    check_axes(axes.shape[1], features)


def check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    """Refuse sizes of runs that do not nest."""
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    nested = whole and all(
        small < large and large % small == 0 for small, large in itertools.pairwise(sizes)
    )
    if not sizes or not nested or sizes[0] < 1:
        raise ValueError(
            f"{name}={sizes!r}; each must be a whole number of at least 1, a multiple of the one "
            "before and larger: for example (4, 64, 512)"
        )


def check_features(x: Tensor) -> None:
    """Refuse what is no batch of tokens with finite features; values are read on the CPU alone."""
    check_tensor("x", x)
    if x.dim() != 3 or not x.is_floating_point() or 0 in x.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}; it must be floating point, "
            "(b, n, c), no axis empty: put the keys of all heads side by side"
        )
    reads = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if reads and not bool(torch.isfinite(x).all()):
        raise ValueError(
            "x holds values that are not finite; an order needs finite features: "
            "pass x.nan_to_num()"
        )
