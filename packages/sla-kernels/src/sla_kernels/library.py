"""The namespace under which PyTorch knows this package's operators, and how they enter it."""

import functools
from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("sla_kernels", "FRAGMENT")


def register(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Add an operator that runs `run` on every device and whose shapes are those of `fake`."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema)
    LIBRARY.impl(name, outside_autocast(run), "CompositeExplicitAutograd")
    torch.library.register_fake(f"sla_kernels::{name}", fake, lib=LIBRARY)


def register_gradient(
    name: str, backward: Callable[..., Any], setup_context: Callable[..., Any]
) -> None:
    """Make an operator differentiable."""
    torch.library.register_autograd(
        f"sla_kernels::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )


def outside_autocast(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let an operator choose its own precision: autocast ends at its border."""

    @functools.wraps(run)
    def wrapped(*args: Any) -> Any:
        device = next(x for x in args if isinstance(x, torch.Tensor)).device.type
        if not torch.is_autocast_enabled(device):
            return run(*args)
        with torch.autocast(device, enabled=False):
            return run(*args)

    return wrapped
