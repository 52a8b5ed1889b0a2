"""Floating-point operations of a call, by PyTorch's own counter."""

from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flops(
    fn: Callable[[], object], *, formulas: Mapping[object, Callable[..., int]] | None = None
) -> int:
    """Return the floating-point operations of one call (a multiply-add counts as two).

    PyTorch counts matrix products, convolutions and attention; element-wise work is not counted.
    `formulas` maps further operators (`torch.ops.library.name`) to a function of the shapes of
    their tensor arguments and `out_shape`, as `torch.utils.flop_counter` takes them. An operator
    without a formula counts as nothing, so a custom kernel must be given one.
    """
    counter = FlopCounterMode(display=False, custom_mapping=dict(formulas or {}))
    with torch.no_grad(), counter:
        fn()
    return int(counter.get_total_flops())
