"""Orders that a caller makes, and one that several attentions share."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.tokens import order_tokens
from sla_kernels.runtime.checks import check_tensor

Ordering = Callable[[Tensor], Tensor]  # keys `b n c` to a permutation `b n`


class SharedOrder:
    """One order for several attentions: made at one of them, and kept for those that follow.

    shared = SharedOrder((4, 64, 512))
    settings = {"keep": 64, "block": (64, 4), "summary": (4, 64, 512)}
    first = SparseLinearAttention(64, order=shared.make, **settings)
    later = SparseLinearAttention(64, order=shared.last, **settings)

    - `sizes`: tokens in a key block and in the larger cells, as `summary`.
    - `axes`: how many principal axes of the keys to look at, or the axes themselves.

    An order for each attention follows its keys more closely; a shared one is made once.
    Attentions that a checkpoint runs anew take the one that was made last: call backward before the
    next pass, and share no order between layers behind a second `make`. Nor between layers of a
    model that attends its scenes in several calls each, as in slices: `last` knows not which of
    them asks, and gives all the order of the last one.
    """

    def __init__(self, sizes: tuple[int, ...], *, axes: int | Float[Tensor, "c a"] = 8) -> None:
        self.sizes, self.axes = sizes, axes
        self.positions: Tensor | None = None

    def make(self, keys: Float[Tensor, "b n c"]) -> Int64[Tensor, "b n"]:
        """Order these keys, and keep the order."""
        made = order_tokens(keys.nan_to_num(0, 0, 0), self.sizes, axes=self.axes)
        self.positions = made.positions
        return made.positions

    def last(self, keys: Float[Tensor, "b n c"]) -> Int64[Tensor, "b n"]:
        """The order that was made last. Raises ValueError where none was, or for other tokens."""
        if self.positions is None or self.positions.shape != keys.shape[:2]:
            found = None if self.positions is None else tuple(self.positions.shape)
            raise ValueError(
                f"shared order={found} for keys of (b, n) = {tuple(keys.shape[:2])}; it must have "
                "been made for as many tokens: run the attention with order=shared.make first"
            )
        return self.positions


def order_from(ordering: Ordering, keys: Float[Tensor, "b n c"]) -> Int64[Tensor, "b n"]:
    """Ask for the order of keys; that it is one is read on the CPU alone.

    Raises ValueError for what is no permutation of these tokens.
    """
    order = ordering(keys)
    check_tensor("order", order)
    if order.shape != keys.shape[:2] or order.dtype != torch.int64 or order.device != keys.device:
        raise ValueError(
            f"order made shape {tuple(order.shape)} of {order.dtype} on {order.device}; it must be "
            f"int64 of shape {tuple(keys.shape[:2])} on {keys.device}: return one permutation of "
            "the tokens a scene"
        )
    reads = order.device.type == "cpu" and not torch.compiler.is_compiling()
    if reads and not torch.equal(
        order.sort(1).values, torch.arange(keys.shape[1], device=order.device).expand_as(order)
    ):
        raise ValueError(
            "order made places that are no permutation; each token must stand in it exactly once: "
            "return argsort of something, say"
        )
    return order
