"""All sparse attentions inside a model: what they share, what calibration stored, how few tokens
are few."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sla_kernels.module import STORED, SparseLinearAttention, calibrated, corrected
from sla_kernels.runtime.checks import check_choice
from sla_kernels.search.choice import RowChoice

SHORT = {"cuda": 16_384}
"""Tokens below which a device attends every key sooner than it chooses some. Measured on an H200
with 16 heads of 64, launched one by one (gpu-h200-rows.json): with 10,992 tokens dense attention
takes 1.3 ms and a choice with its attention 2.2 to 3.4, with 43,968 they take 19 and 3.3 to 3.8. A
CPU gains wherever lists are no longer than three tenths of all keys, which select_rows sees to."""

LEAST_ADDED = 0.02  # of what all layers add to the square of the change


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


def share_blocks(keep: int, change: float, halved: Sequence[float]) -> tuple[int, ...]:
    """Share as many exact blocks between layers anew, so that a model changes least.

    A layer that attends k blocks exactly is taken to add a / k to the square of the model's change.
    Half as many blocks in one layer tell its a; at one total, the sum is least where each k goes
    with the root of its a.

    - `change`: how far the model's answer is from that of dense attention with `keep` blocks in
      every layer; `halved`: with half as many in one layer, for each layer.

    Returns the blocks of each layer: at least one, in all `keep` times the layers but for rounding.
    Layers that add next to nothing count as if they added a little: a fiftieth of the sum.
    Raises ValueError for no blocks or layers, and for changes that are negative or not finite.
    """
    if keep < 1 or not halved:
        raise ValueError(f"keep={keep}, {len(halved)} layers; there must be one of each: pass more")
    if not all(math.isfinite(one) and one >= 0 for one in (change, *halved)):
        raise ValueError(
            f"change={change}, halved={list(halved)}; changes must be finite and at least 0: pass "
            "medians or means of distances"
        )
    added = [max(one * one - change * change, 0.0) for one in halved]
    least = LEAST_ADDED * sum(added) or 1.0
    roots = [math.sqrt(max(one, least)) for one in added]
    return tuple(max(1, round(keep * len(roots) * root / sum(roots))) for root in roots)


def calibrate(model: nn.Module, run: Callable[[], object], *, offsets: bool = True) -> None:
    """Find axes, and what cells understate, in place of those of before.

    sla_kernels.calibrate(model, lambda: model(images))

    What was found before changes nothing of what is found.

    - `run`: lets the model see what it is used for; called once, and once more for offsets. Where
      it raises, what was found before is still there.
    """
    before = stored_calibration(model)
    try:
        forget_calibration(model)
        with calibrated(model):
            run()
        if offsets:
            with corrected(model):
                run()
    except BaseException:  # of a person who stops it too
        forget_calibration(model)
        _store(model, before)
        raise


def stored_calibration(model: nn.Module) -> dict[str, Tensor]:
    """What `calibrated` stored inside a model: axes (c, a) and offsets (g, sizes), by buffer."""
    return {
        f"{name}.{stored}": getattr(part, stored)
        for name, part in model.named_modules()
        if isinstance(part, SparseLinearAttention)
        for stored in STORED
        if getattr(part, stored) is not None
    }


def forget_calibration(model: nn.Module, *stored: str) -> None:
    """Drop what was found: "directions" are then computed at every call, "offsets" are none.

    - `stored`: which of the two; both unless named.

    Raises ValueError for other names.
    """
    for name in stored:
        check_choice("stored", name, STORED)
    for part in model.modules():
        if isinstance(part, SparseLinearAttention):
            for name in stored or STORED:
                setattr(part, name, None)


def change_dtype(model: nn.Module, dtype: torch.dtype) -> None:
    """Change the number type of a model, in place, but not that of its calibration: float32.

    Its parameters become its own: those that another model shares stay as they are there.
    """
    kept = {name: found.float() for name, found in stored_calibration(model).items()}
    own: dict[int, nn.Parameter] = {}
    for part in model.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            copied = nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad)
            setattr(part, name, own.setdefault(id(value), copied))
    model.to(dtype)
    _store(model, kept)


def _store(model: nn.Module, calibration: Mapping[str, Tensor]) -> None:
    """Undo `stored_calibration`."""
    for name, found in calibration.items():
        holder, _, stored = name.rpartition(".")
        setattr(model.get_submodule(holder), stored, found)
