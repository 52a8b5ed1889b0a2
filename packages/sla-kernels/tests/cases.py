"""Inputs, errors and gradients that the tests of attention share."""

from collections.abc import Callable

import torch
from torch import Tensor

from sla_kernels import BlockSelection
from sla_kernels.select.blocks import num_blocks


def named(value: object) -> str:
    """A case or a type as the name of a test has it."""
    sizes = value if isinstance(value, tuple) else (str(value).removeprefix("torch."),)
    return "-".join(map(str, sizes))


def qkv(
    n: int, m: int, *, h: int = 2, g: int = 2, d: int = 32, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Queries, keys and values, strided as a fused projection leaves them."""
    q = torch.randn(1, n, h, d).to(dtype).transpose(1, 2)
    k, v = torch.randn(1, m, 2, g, d).to(dtype).permute(2, 0, 3, 1, 4)
    return [q, k, v]


def random_selection(
    h: int, n: int, m: int, block: tuple[int, int], pinned: Tensor | None = None
) -> BlockSelection:
    """Any lists: of different lengths, one row that keeps all, one column that all keep."""
    left = 0 if pinned is None else pinned.numel()
    size = (1, h, num_blocks(n - left, block[0]), num_blocks(m - left, block[1]))
    mask = torch.rand(size) < 0.3
    mask[..., size[3] // 2] = True
    mask[:, 0, 0] = True
    return BlockSelection.from_mask(mask, block=block, num_queries=n, num_keys=m, pinned=pinned)


def value_and_gradients(
    call: Callable[..., Tensor], leaves: list[Tensor], grad: Tensor
) -> list[Tensor]:
    """The output of a call and the gradients of all its tensors."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    out = call(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def errors(found: list[Tensor], expected: list[Tensor], floor: float = 1.0) -> list[float]:
    """Norm of the difference over the norm, tensor by tensor; NaN where anything is NaN.

    The norm counts as `floor` where it is less: a gradient that is zero but for rounding has no
    relative error.
    """
    return [
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=floor))
        for a, b in zip(found, expected, strict=True)
    ]


def apart(x: torch.Tensor) -> torch.Tensor:
    """The same numbers as every second one of a row: a view between numbers that break all."""
    wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), 1 << 20, dtype=x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def turned(x: torch.Tensor) -> torch.Tensor:
    """The same numbers with tokens side by side in memory, as a convolution leaves them."""
    return x.mT.contiguous().mT


LAYOUTS = {"apart": apart, "turned": turned}  # where the numbers of a token are no neighbors
