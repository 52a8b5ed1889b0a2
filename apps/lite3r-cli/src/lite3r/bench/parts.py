"""Where the time of a forward pass goes: attention, the other layers of the blocks, the rest."""

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from recon_backbones import Backbone

PARTS = ("attention", "blocks", "rest")


class Stopwatch:
    """Adds up the time inside some modules, on CUDA by events, which hold nothing up."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._begun: list[Any] = []
        self._spans: list[tuple[Any, Any]] = []

    def watch(self, module: nn.Module) -> list[Any]:
        """Time every call of a module; returns the handles of its hooks."""
        return [
            module.register_forward_pre_hook(lambda *_: self._begun.append(self.now())),
            module.register_forward_hook(lambda *_: self._end()),
        ]

    def now(self) -> Any:
        """This moment."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self) -> float:
        """All time so far."""
        if not self._cuda:
            return 1e3 * sum(end - begin for begin, end in self._spans)
        torch.cuda.synchronize()
        return float(sum(begin.elapsed_time(end) for begin, end in self._spans))

    def _end(self) -> None:
        self._spans.append((self._begun.pop(), self.now()))


def time_parts(model: Backbone, images: Tensor, *, device: str, repeats: int) -> dict[str, float]:
    """Median milliseconds of one scene by part; together they are the whole pass.

    attention: the operator alone (softmax, or sparse and linear), without its projections.
    blocks: everything else in the transformer blocks that hold attention over tokens.
    rest: patch embedding, heads, cameras.
    """
    passes = [_one(model, images, device) for _ in range(repeats)]
    return {part: statistics.median(p[part] for p in passes) for part in PARTS}


def _one(model: Backbone, images: Tensor, device: str) -> dict[str, float]:
    sites = [site for site in model.attention_sites() if site.scope != "camera"]
    watches = {name: Stopwatch(device) for name in ("attention", "blocks", "all")}
    handles = []
    for site in sites:
        handles += watches["attention"].watch(model.get_submodule(f"{site.name}.core"))
        handles += watches["blocks"].watch(model.get_submodule(site.name.rpartition(".")[0]))
    handles += watches["all"].watch(model)
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    spent = {name: watch.milliseconds() for name, watch in watches.items()}
    return {
        "attention": spent["attention"],
        "blocks": spent["blocks"] - spent["attention"],
        "rest": spent["all"] - spent["blocks"],
    }
