"""Trade time for memory: recompute chosen activations during backward."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import update_wrapper
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from distill.record.names import matching
from distill.record.recorder import PassEnded
from distill.trainable.buffers import SMALL_BYTES, Held, copied, marks, put, touched


@contextmanager
def recomputed_activations(model: nn.Module, patterns: Sequence[str]) -> Iterator[list[str]]:
    """Recompute the activations inside matching modules while this block runs.

    - `model`: its modules are wrapped in place and restored afterwards.
    - `patterns`: shell patterns over module names, such as "blocks.*"; a module inside another
      that matches is left to the outer one. None wraps nothing.

    Yields names of the wrapped modules.

    Raises ValueError if a pattern matches no module.
    """
    modules = dict(model.named_modules())
    found = sorted(matching(modules, patterns, "module")) if patterns else []
    outer = [name for name in found if not any(name.startswith(f"{o}.") for o in found)]
    own = {name: vars(modules[name]).get("forward") for name in outer}  # put there by somebody
    for name in outer:
        modules[name].forward = _Recomputed(modules[name])
    try:
        yield outer
    finally:
        for name in outer:
            del modules[name].forward
            if own[name] is not None:
                modules[name].forward = own[name]


class _Recomputed:
    """A forward whose activations are recomputed; that of a copied module runs the copy."""

    def __init__(self, module: nn.Module) -> None:
        update_wrapper(self, module.forward)
        self._module, self._forward = module, module.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        ended: list[PassEnded] = []
        before, changed = marks(self._module), list[nn.Module]()
        begun = copied({part: part._buffers for part in self._module.modules()}, SMALL_BYTES)

        def inside(*args: Any, **kwargs: Any) -> Any:
            try:
                return self._forward(*args, **kwargs)
            except PassEnded as end:  # before PyTorch 2.13 it leaves the hooks of checkpoint behind
                ended.append(end)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _spared(changed, begun)

        out = checkpoint(inside, *args, use_reentrant=False, context_fn=contexts, **kwargs)
        changed += touched(self._module, before)
        if ended:
            raise ended.pop()
        return out


@contextmanager
def _spared(changed: list[nn.Module], begun: Held) -> Iterator[None]:
    """Let the second pass begin as the first did and change copies alone: it is no further step."""
    now = {part: dict(part._buffers) for part in changed}
    put(copied({part: begun.get(part, {}) for part in changed}))
    try:
        yield
    finally:
        put(now)
