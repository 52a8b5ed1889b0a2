"""What a CUDA graph reads must live as long as the process: a cache forgets, a graph does not."""

from typing import TypeVar

import torch

T = TypeVar("T")
_HELD: dict[int, object] = {}


def held_for_graphs(made: T, device: torch.device) -> T:
    """Return what was made on a device, and hold it for good where a graph is being captured."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        _HELD[id(made)] = made
    return made
