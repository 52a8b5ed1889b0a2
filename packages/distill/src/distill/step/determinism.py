"""Refuse operations that have no deterministic algorithm, and say early what PyTorch needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool, *models: nn.Module) -> Iterator[None]:
    """Let PyTorch refuse such operations while this block runs, where that is wanted.

    Where the caller refuses them already, or is warned of them, nothing changes.

    Raises ValueError where a model is on a CUDA device whose products PyTorch refuses.
    """
    if torch.are_deterministic_algorithms_enabled() or not wanted:
        yield
        return
    torch.use_deterministic_algorithms(True)
    try:
        for device in _cuda_devices(*models):
            _check_products(device)
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _cuda_devices(*models: nn.Module) -> set[torch.device]:
    devices = {parameter.device for model in models for parameter in model.parameters()}
    return {device for device in devices if device.type == "cuda"}


def _check_products(device: torch.device) -> None:
    try:
        _multiply(device)
    except RuntimeError as error:
        if VARIABLE not in str(error):
            raise
        raise ValueError(
            f"deterministic=True on {device}; PyTorch multiplies matrices there only if "
            f"{VARIABLE} was set before it began: start again with {VARIABLE}=:4096:8, or give "
            "deterministic=False"
        ) from error


def _multiply(device: torch.device) -> None:
    """Ask PyTorch itself: it read the variable once, and may need none."""
    one = torch.ones(1, 1, device=device)
    torch.mm(one, one)
