"""Floating-point operations of a call, by PyTorch's own counter.

A multiply-add counts as two. PyTorch counts matrix products, convolutions and attention, and
nothing that works element by element. Some of its operators it overlooks: its attention on CPUs,
attention of grouped heads before PyTorch 2.13, and the scaled product of FP8 codes. They are
counted here like their relatives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Formula = Callable[..., int]


def count_flops(
    fn: Callable[[], object], *, formulas: Mapping[object, Formula] | None = None
) -> int:
    """Return the floating-point operations of one call.

    `formulas` maps further operators (`torch.ops.library.name`) to functions of their arguments,
    tensors included. An operator without a formula counts as nothing, so a custom kernel must be
    given one. What was compiled is run eagerly, since a compiled graph hides its operators.
    """
    known = {**_OVERLOOKED, **(formulas or {})}
    raw = {operator: _OfArguments(formula) for operator, formula in known.items()}
    counter = FlopCounterMode(display=False, custom_mapping=raw)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), counter:
        fn()
    return int(counter.get_total_flops())


class _NoModules:
    """In the place of the counter's module tracker, which counts by module.

    Only the total is wanted, and the tracker's hooks fail on a parameter that is given to a module
    where no gradient is recorded.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _OfArguments:
    """A formula as the counter calls it, with tensors instead of their shapes."""

    _get_raw = True  # the counter's own mark for that

    def __init__(self, formula: Formula) -> None:
        self.formula = formula

    def __call__(self, *args: Any, out_val: object = None, **kwargs: Any) -> int:
        return self.formula(*args, **kwargs)


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object) -> int:
    """Of the scores and the weighted values; grouped heads as often as they are read."""
    return 2 * _pairs(q, k) * (q.shape[3] + v.shape[3])


def _attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object
) -> int:
    """Of the scores anew, and of the gradients of weights, values, queries and keys."""
    return 2 * _pairs(q, k) * (3 * q.shape[3] + 2 * v.shape[3])


def _pairs(q: Tensor, k: Tensor) -> int:
    return q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]


def _scaled_product(a: Tensor, b: Tensor, *_: object, **__: object) -> int:
    return 2 * a.shape[0] * a.shape[1] * b.shape[1]


_ATEN = torch.ops.aten
_KINDS = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
_OVERLOOKED: dict[object, Formula] = {
    **{getattr(_ATEN, f"_scaled_dot_product_{kind}"): _attention for kind in _KINDS},
    **{
        getattr(_ATEN, f"_scaled_dot_product_{kind}_backward"): _attention_backward
        for kind in _KINDS
    },
    _ATEN._scaled_mm_v2: _scaled_product,
}
