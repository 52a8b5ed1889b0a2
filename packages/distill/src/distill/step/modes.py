"""Modes of modules, training or evaluation, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def own_modes_after(*models: nn.Module) -> Iterator[None]:
    """Let a block change the modes of models; every module is in its own again after it."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
