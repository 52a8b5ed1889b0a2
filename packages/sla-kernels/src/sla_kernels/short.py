"""Where there are few tokens: how many make a choice worth its time, for models that run."""

from dataclasses import replace

import torch
from torch import nn

from sla_kernels.module import SparseLinearAttention
from sla_kernels.search.choice import RowChoice

SHORT = {"cuda": 10_240, "cpu": 2_560}
"""Tokens below which a device attends every key sooner than it chooses some. Predicted for a GPU:
with 16 heads of 64 an H100 takes 0.60 ms a layer against 0.43 of dense attention at 8,244 tokens,
and 0.74 against 0.77 at 10,992. Measured on a CPU, where 2,056 tokens took as long either way."""


def short_on(device: str | torch.device) -> int:
    """Tokens below which this kind of device attends every key sooner than it chooses some."""
    return SHORT.get(torch.device(device).type, 0)


def attend_all_below(model: nn.Module, tokens: int) -> None:
    """Let the attentions inside a model attend every key where there are fewer tokens than these.

    sla_kernels.attend_all_below(model, sla_kernels.short_on("cuda"))

    In place, for models that are to answer soon; attentions that train should choose at every
    length. Concerns those that list rows; 0 undoes it. Nothing is saved with the model.

    Raises ValueError for a number below zero.
    """
    if tokens < 0:
        raise ValueError(f"tokens={tokens}; it must be at least 0: pass short_on(device), or 0")
    for part in model.modules():
        if isinstance(part, SparseLinearAttention) and isinstance(part.choice, RowChoice):
            part.choice = replace(part.choice, all_below=tokens)
