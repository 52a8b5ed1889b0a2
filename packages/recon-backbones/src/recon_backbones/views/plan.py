"""Choose how a reconstruction is cut, so that it fits the memory there is, and say why.

What is given up, in this order: nothing (all views at once, eight in the dense heads); time
(fewer views in the heads; on a GPU, tokens that wait for the heads in the host's memory and
blocks in slices: the same result); on a GPU, precision (16 bits); at last, that every view
sees every other (windows, see `windows`). The keep of
a student is left as it was trained: attention of either kind needs memory in proportion to
its tokens, so keeping less would save time but no memory.

There is a plan and there are second attempts (`run`), because some systems end a process that
takes more memory than there is, where nothing can be tried again, and because on others memory
runs out that no plan foresees: what kernels take for themselves, or other processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from recon_backbones.backbone import Backbone
from recon_backbones.blocks.precision import half_type
from recon_backbones.errors import InputError
from recon_backbones.machine.amounts import parse_bytes, readable
from recon_backbones.machine.free import available
from recon_backbones.views.memory import Work, footprint
from recon_backbones.views.options import Memory

CHUNKS = (8, 4, 2, 1)  # views in the dense heads
HALVES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
FEWEST = 4  # views of a window that is still worth aligning
PLENTY = 4 << 10  # bytes for a pixel, several times what any backbone needs
ANYWAY = 3 << 29  # bytes beside them, as well


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the views go through the network.

    - `window`: views of one pass, at most all. `overlap`: views that neighboring passes share.
    - `head_chunk`, `stream`: as `memory.Work` has them.
    - `needs`: predicted peak in bytes, None where nothing was predicted.
    - `half`: the 16-bit type of the backbone, None where it is not converted.
    - `why`: what was given up for memory, in words.
    """

    views: int
    window: int
    overlap: int
    head_chunk: int = 8
    stream: bool = False
    half: torch.dtype | None = None
    needs: int | None = None
    why: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every view sees every other."""
        return self.window >= self.views

    def describe(self) -> str:
        """The choices in one line."""
        passes = (
            "all views at once"
            if self.whole
            else (f"windows of {self.window} views that share {self.overlap}")
        )
        parts = [passes, f"dense heads {self.head_chunk} views at a time"]
        if self.stream:
            parts.append("tokens wait in the host's memory, blocks in slices")
        if self.half is not None:
            parts.append(f"converted to {str(self.half).removeprefix('torch.')}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is to be reconstructed where.

    - `backbone`: its registered name, or the network itself, where it is another or a student.
    - `held`: bytes that the process has in memory already and that count (on a GPU none).
    - `loaded`: bytes of what a prediction counts that are in memory already, and so are missing
      from what is free: weights and, on a GPU, CUDA's own.
    """

    backbone: str | Backbone
    views: int
    height: int
    width: int
    device: str
    held: int
    loaded: int = 0


def make_plan(options: Memory, situation: Situation) -> Plan:
    """The first of the candidates that fits.

    Raises InputError when none does, saying what the least needs.
    """
    if options.budget is None:
        free = available(situation.device)
        limit = free + situation.held + situation.loaded
        plan = next(_candidates(options, situation))
        plenty = PLENTY * plan.window * situation.height * situation.width + ANYWAY
        if plenty < free:
            return plan  # so little that predicting it would take longer than it
    else:
        limit = parse_bytes(options.budget)
    first = None
    least = 0
    for plan in _candidates(options, situation):
        least = needed(plan, situation)
        first = first or replace(plan, needs=least)
        if least <= limit:
            return replace(plan, needs=least, why=_why(first, plan, limit))
    raise InputError(
        f"{situation.views} views of {situation.width} x {situation.height} pixels need "
        f"{readable(least)} at the very least ({plan.describe()}); {readable(limit)} may "
        "be used: give a larger budget, a smaller size, or a smaller backbone"
    )


def needed(plan: Plan, situation: Situation) -> int:
    """Predicted peak of a plan in bytes, the process's own memory included."""
    found = footprint(situation.backbone, _work(plan, situation), device=situation.device)
    return situation.held + found.total(situation.device)


def thriftier(plan: Plan) -> Plan | None:
    """What to try after memory ran out: chunks first, then half the views; None at the end."""
    if plan.head_chunk > 1:
        return replace(plan, head_chunk=1, needs=None)
    window = min(plan.window, plan.views) // 2
    if window < 2:
        return None
    return replace(plan, window=window, overlap=default_overlap(window), needs=None)


def default_overlap(window: int) -> int:
    """A quarter of the window, at least one view."""
    return max(1, window // 4)


def _candidates(options: Memory, situation: Situation) -> Iterator[Plan]:
    views = situation.views
    window = min(options.window or views, views)
    overlap = min(options.overlap or default_overlap(window), max(1, window - 1))
    half = HALVES.get(options.precision)
    start = Plan(views=views, window=window, overlap=overlap, half=half)
    for chunk in CHUNKS:
        yield replace(start, head_chunk=chunk)
    kind = torch.device(situation.device).type
    thrifty = replace(start, head_chunk=CHUNKS[-1], stream=kind == "cuda")
    if kind == "cuda":
        yield thrifty
    if kind != "cpu" and options.precision == "auto":
        thrifty = replace(thrifty, half=half_type(situation.device))
        yield thrifty
    while options.window is None and (window := window * 3 // 4) >= min(FEWEST, views - 1) >= 2:
        overlap = min(options.overlap or default_overlap(window), window - 1)
        yield replace(thrifty, window=window, overlap=overlap)


def _work(plan: Plan, situation: Situation) -> Work:
    return Work(
        views=plan.window,
        height=situation.height,
        width=situation.width,
        head_chunk=plan.head_chunk,
        bytes_per_value=4 if plan.half is None else 2,
        stream=plan.stream,
    )


def _why(first: Plan, chosen: Plan, limit: int) -> tuple[str, ...]:
    """Sentences about what was given up, none when nothing was."""
    if first.needs is None or first.needs <= limit:
        return ()
    found = [
        f"all at once would need {readable(first.needs)}, and {readable(limit)} may be used",
        f"so: {chosen.describe()}",
    ]
    if not chosen.whole:
        found.append("views of different windows do not see each other, and drift can add up")
    return tuple(found)
