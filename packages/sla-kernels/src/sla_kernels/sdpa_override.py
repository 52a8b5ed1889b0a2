"""Run any model's dense attention as sparse linear attention, its code unchanged."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One place in a model that calls `scaled_dot_product_attention`."""

    name: str  # of the submodule whose forward calls it, "" for the model itself
    call: int  # which call of that forward, from 0
    heads: int
    head_dim: int
    scale: float | None  # None: 1 / sqrt(head_dim)


@dataclass
class Overridden:
    """What replaces each place: the answers of `make`, made at the first call of the place."""

    attention: dict[tuple[str, int], Attention | None] = field(default_factory=dict)

    def modules(self) -> nn.ModuleDict:
        """The replacements that are modules, to train or save.

        Place ("a.b", 0) is named "a_b_0"; beside ("a_b", 0), which would be too, "a/b/0".
        """
        found = {
            f"{name}.{call}": made
            for (name, call), made in self.attention.items()
            if isinstance(made, nn.Module)
        }
        usual = Counter(place.replace(".", "_") for place in found)
        return nn.ModuleDict(
            {
                place.replace(".", "_" if usual[place.replace(".", "_")] == 1 else "/"): made
                for place, made in found.items()
            }
        )


@contextmanager
def sdpa_override(
    module: nn.Module, make: Callable[[Site], Attention | None]
) -> Iterator[Overridden]:
    """Within this context `module` computes its dense attention by what `make` returns.

    Each place in the model that calls `torch.nn.functional.scaled_dot_product_attention` is shown
    to `make` once, at its first call; the answer is called as (q, k, v), shaped b h n d, from then
    on, and has to multiply scores with the place's `scale`. None leaves the place dense. Calls made
    outside the module's forward are left alone, as is `nn.MultiheadAttention` that is asked for its
    weights (need_weights=True, its default), which calls no such function.

    A place that passes a mask, dropout or causality, or another scale than at its first call,
    cannot be replaced: ValueError, which names the place; return None for it. Modules that `make`
    returns are collected in the yielded object.

    A backward pass that runs submodules anew (checkpoints) belongs into the context too. Functions
    that run anew outside of any submodule's forward are not seen.

        def make(site):
            return SparseLinearAttention(site.head_dim, keep=0.25, scale=site.scale)

        with sdpa_override(model, make):
            model(images)
    """
    overridden = Overridden()
    stack = _Mode(overridden, make).stack
    handles = [
        handle
        for name, part in module.named_modules()
        for handle in (
            part.register_forward_pre_hook(stack.enter(name)),
            part.register_forward_hook(stack.leave(name), always_call=True),
        )
    ]
    try:
        yield overridden
    finally:
        for handle in handles:
            handle.remove()
        stack.clear()


class _Stack(threading.local):
    """The submodules whose forward is running on this thread, with the calls each has made.

    The mode is on while one runs, not all the time: a backward pass that runs forwards anew would
    be one call of PyTorch that the mode catches, and a mode rests within what it catches.
    """

    def __init__(self, mode: AbstractContextManager[object]) -> None:
        self.mode = mode
        self.names: list[str] = []
        self.calls: list[int] = []

    def enter(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if not self.names:
                self.mode.__enter__()
            self.names.append(name)
            self.calls.append(0)

        return hook

    def leave(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if self.names[-1:] != [name]:  # another hook failed before this forward began
                return
            self.names.pop()
            self.calls.pop()
            if not self.names:
                self.mode.__exit__(None, None, None)

        return hook

    def clear(self) -> None:
        """Leave what an interruption has left running: it skips hooks."""
        if self.names:
            self.mode.__exit__(None, None, None)
        self.names, self.calls = [], []

    def call(self) -> tuple[str, int]:
        self.calls[-1] += 1
        return self.names[-1], self.calls[-1] - 1


class _Mode(TorchFunctionMode):
    """Catch `scaled_dot_product_attention` while a forward of the module runs."""

    def __init__(self, overridden: Overridden, make: Callable[[Site], Attention | None]) -> None:
        super().__init__()
        self.overridden, self.stack, self.make = overridden, _Stack(self), make
        self.scales: dict[tuple[str, int], float] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return _caught_within(func, self._attend)(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        return self._attend(func, *args, **kwargs)

    def _attend(
        self,
        dense: Callable[..., Tensor],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        place = self.stack.call()
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        first = self.scales.setdefault(place, factor)
        if place not in self.overridden.attention:
            site = Site(
                name=place[0],
                call=place[1],
                heads=query.shape[-3] if query.dim() > 3 else 1,
                head_dim=query.shape[-1],
                scale=scale,
            )
            # threads that meet here go on with one replacement
            self.overridden.attention.setdefault(place, self.make(site))
        attention = self.overridden.attention[place]
        if attention is None:
            rest = (attn_mask, dropout_p, is_causal)
            return dense(query, key, value, *rest, scale=scale, enable_gqa=enable_gqa)
        _check(place, query, attn_mask, dropout_p, is_causal)
        _check_scale(place, factor, first)
        with torch._C.DisableTorchFunctionSubclass():
            return attention(query, key, value)


def _caught_within(func: Any, attend: Callable[..., Tensor]) -> FunctionType:
    """A function of PyTorch's that calls dense attention by its name; modes rest within it."""
    dense = F.scaled_dot_product_attention
    names = {**func.__globals__, dense.__name__: partial(attend, dense)}
    del names["__name__"]  # by which a compiler would look its names up in PyTorch again
    return FunctionType(func.__code__, names, func.__name__, func.__defaults__)


def _check(
    place: tuple[str, int], q: Tensor, mask: Tensor | None, dropout: float, causal: bool
) -> None:
    """Refuse a call that sparse linear attention cannot stand in for."""
    reasons = {
        "attn_mask": mask is not None,
        f"dropout_p={dropout}": dropout > 0,
        "is_causal=True": causal,
        f"a query of {q.dim()} axes": q.dim() != 4,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ValueError(
            f"call {place[1]} in module {place[0]!r} passes {', '.join(found)}; sparse linear "
            "attention knows none of these: let make return None for this place"
        )


def _check_scale(place: tuple[str, int], scale: float, first: float) -> None:
    """Refuse a scale that the replacement was not made for."""
    if scale != first:
        raise ValueError(
            f"scale={scale} of call {place[1]} in module {place[0]!r}, which passed {first} first; "
            "its replacement was made for that: let make return None for this place"
        )
