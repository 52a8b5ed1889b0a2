"""What one network makes of one scene: against the truth, and against the dense network."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from lite3r.bench.quality import predict, results
from lite3r.study.candidates import short
from recon_backbones import Backbone, Prediction
from recon_eval import pose
from recon_eval.data import Scene
from sla_kernels import SparseLinearAttention, observed_selections

QUERIES = 64  # of a sequence, at which the attention mass is looked at

Figures = dict[str, float | None]


def judge(network: Backbone, scene: Scene, dense: Prediction | None) -> tuple[Figures, Prediction]:
    """The figures of one scene by name, and what the network answered.

    - `abs_rel`, `auc30`: against the truth, where the scene has one.
    - `depth_change`: median relative change of depth against `dense`; `pose_agreement`: AUC@30 of
      the cameras with those of `dense` as the truth.
    - `exact`: share of the keys that a query attends exactly; `seen`: with summaries.
    - `latency_ms`: this one pass.
    """
    with observed_selections(network) as found:
        begun = time.perf_counter()
        answer = predict(network, scene)
        latency = 1e3 * (time.perf_counter() - begun)
    figures: Figures = {"latency_ms": latency, **_against_truth(answer, scene)}
    if dense is not None:
        figures |= changes(answer, dense)
    return figures | _shares(found), answer


def changes(answer: Prediction, dense: Prediction) -> Figures:
    """How far depth and cameras are from those of the dense network; no truth is needed."""
    ratio = answer.depth.float() / dense.depth.float()
    figures: Figures = {"depth_change": float((ratio - 1).abs().median())}
    cameras = answer.world_to_camera[0].float(), dense.world_to_camera[0].float()
    if len(cameras[0]) > 1:
        figures["pose_agreement"] = pose.evaluate(*cameras).numbers()["auc30"]
    return figures


def _against_truth(answer: Prediction, scene: Scene) -> Figures:
    if scene.depth is None and scene.world_to_camera is None:
        return {}
    numbers: Figures = {}
    for result in results(answer, scene):
        numbers |= {k: v for k, v in result.numbers().items() if k in ("abs_rel", "auc30")}
    return {name: None if v != v else v for name, v in numbers.items()}


def _shares(found: Sequence[Any]) -> Figures:
    """Means over the sparse attentions; dense ones are not told of."""
    if not found:
        return {"exact": 1.0, "seen": 1.0}
    exact = statistics.fmean(s.density for s in found)
    seen = [getattr(s, "keys_seen", s.density * s.num_keys) / s.num_keys for s in found]
    return {"exact": exact, "seen": min(1.0, statistics.fmean(seen))}


def attention_mass(network: Backbone, scene: Scene) -> dict[str, Figures]:
    """By sparse attention: `kept`, the part of dense attention that its exact keys hold, and
    `best`, that of the best as many keys for each query alone, which no choice exceeds."""
    found: dict[str, Figures] = {}

    def look(name: str) -> Any:
        def hook(core: Any, given: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            found[name] = _mass(given[0], given[1], core.selection(*given, **named), core.scale)

        return hook

    handles = [
        core.register_forward_pre_hook(look(short(name)), with_kwargs=True)
        for name, core in network.named_modules()
        if isinstance(core, SparseLinearAttention)
    ]
    try:
        predict(network, scene)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _mass(q: Tensor, k: Tensor, selection: Any, scale: float) -> Figures:
    picked = torch.linspace(0, q.shape[2] - 1, min(QUERIES, q.shape[2])).long()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    weights = (
        scale * q[:, :, picked].float() @ rearrange(k.float(), "b h m d -> b h d m")
    ).softmax(dim=-1)
    mask = selection.token_mask()[:, :, picked]
    best = weights.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    most = best.gather(-1, mask.sum(-1, keepdim=True).clamp(min=1) - 1)
    return {"kept": float((weights * mask).sum(-1).mean()), "best": float(most.mean())}
