"""Trade time for memory: recompute chosen activations during backward."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from distill.record.names import matching
from distill.record.recorder import PassEnded


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
        modules[name].forward = _wrap(modules[name].forward)
    try:
        yield outer
    finally:
        for name in outer:
            del modules[name].forward
            if own[name] is not None:
                modules[name].forward = own[name]


def _wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        ended: list[PassEnded] = []

        def inside(*args: Any, **kwargs: Any) -> Any:
            try:
                return forward(*args, **kwargs)
            except PassEnded as end:  # before PyTorch 2.13 it leaves the hooks of checkpoint behind
                ended.append(end)

        out = checkpoint(inside, *args, use_reentrant=False, **kwargs)
        if ended:
            raise ended.pop()
        return out

    return wrapped
