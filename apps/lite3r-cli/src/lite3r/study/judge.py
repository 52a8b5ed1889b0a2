"""What one network makes of one scene: against the truth, and against the dense network."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from lite3r.bench.quality import Figures, answer_of, changes, predict
from lite3r.study.candidates import short
from recon_backbones import Backbone, Prediction
from recon_eval import PROTOCOLS
from recon_eval.data import Scene
from sla_kernels import observed_mass, observed_selections


def judge(network: Backbone, scene: Scene, dense: Prediction | None) -> tuple[Figures, Prediction]:
    """The figures of one scene by name, and what the network answered.

    - `abs_rel`, `auc30`: against the truth, where the scene has one.
    - `depth_change`: median relative change of depth against `dense`; `pose_agreement`: AUC@30 of
      the cameras with those of `dense` as the truth.
    - `exact`: share of the keys that a query attends exactly; `seen`: with summaries.
    - `latency_ms`: this one pass.

    Raises ValueError for an answer that is no finite number.
    """
    with observed_selections(network) as found:
        begun = time.perf_counter()
        answer = predict(network, scene)
        latency = 1e3 * (time.perf_counter() - begun)
    figures: Figures = {"latency_ms": latency, **_against_truth(answer, scene)}
    figures |= changes(answer, answer if dense is None else dense)
    return figures | _shares(found), answer


def _against_truth(answer: Prediction, scene: Scene) -> Figures:
    if scene.depth is None and scene.world_to_camera is None:
        return {}
    results = PROTOCOLS["median"].results(answer_of(answer), scene)
    numbers = {k: v for result in results for k, v in result.numbers().items()}
    return {k: None if v != v else v for k, v in numbers.items() if k in ("abs_rel", "auc30")}


def _shares(found: Sequence[Any]) -> Figures:
    """Means over the sparse attentions; dense ones are not told of."""
    if not found:
        return {"exact": 1.0, "seen": 1.0}
    exact = statistics.fmean(s.density for s in found)
    seen = [getattr(s, "keys_seen", s.density * s.num_keys) / s.num_keys for s in found]
    return {"exact": exact, "seen": min(1.0, statistics.fmean(seen))}


def attention_mass(network: Backbone, scene: Scene) -> dict[str, dict[str, float]]:
    """What of dense attention each layer's exact keys hold on a scene, by the layer's number."""
    with observed_mass(network) as found:
        predict(network, scene)
    return {short(name): mass for name, mass in found.items()}
