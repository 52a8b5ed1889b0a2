"""Axes of an order from many calls: sums of keys and of their products, then eigenvectors."""

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.axes import axes_of, in_float64


class Moments:
    """The first two moments of keys, all heads side by side, over every call."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None
        self.products: Tensor | None = None
        self.dtype = torch.float32
        self.device = torch.device("cpu")

    def add(self, k: Float[Tensor, "b g m d"], pinned: Int64[Tensor, " pinned"] | None) -> None:
        """Count the keys of one call, pinned ones left out."""
        rows = rearrange(in_float64(k.detach()), "b g m d -> b m (g d)")
        self.device = k.device
        if pinned is not None:
            free = torch.ones(k.shape[2], dtype=torch.bool, device=rows.device)
            rows = rows[:, free.index_fill(0, pinned.to(rows.device), False)]
        rows = rearrange(rows, "b m c -> (b m) c")
        if self.total is None or self.products is None:
            width = rows.shape[1]
            self.total = rows.new_zeros(width)
            self.products = rows.new_zeros(width, width)
        self.count += rows.shape[0]
        self.total += rows.sum(0)
        self.products += rows.T @ rows

    def axes(self, number: int) -> Float[Tensor, "c a"]:
        """The principal axes of everything that was counted, in float32."""
        assert self.total is not None and self.products is not None
        mean = self.total / self.count
        return (
            axes_of(self.products / self.count - mean.outer(mean), number).float().to(self.device)
        )
