"""Every figure that a table shows, once: its key, its words, its unit, where it comes from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of a model.

    - `source`: protocol and number of a recon_eval report whose mean over scenes it is; None for
      what is measured otherwise.
    - `scale`: turns the stored unit into the shown one.
    """

    key: str
    title: str
    unit: str = ""
    digits: int = 3
    scale: float = 1.0
    better: Literal["low", "high"] | None = None
    source: tuple[str, str] | None = None
    explanation: str


DEPTH, POSE = "depth/median/sequence", "pose/pairs/signed"

QUALITY = (
    Metric(
        key="abs_rel",
        title="AbsRel",
        better="low",
        source=(DEPTH, "abs_rel"),
        explanation="mean |depth - truth| / truth, after one median scale per scene",
    ),
    Metric(
        key="delta1",
        title="δ1",
        better="high",
        source=(DEPTH, "delta1"),
        explanation="share of pixels whose depth is within a factor 1.25 of the truth",
    ),
    Metric(
        key="rotation_degrees",
        title="rotation",
        unit="°",
        digits=2,
        better="low",
        source=(POSE, "rotation_degrees"),
        explanation="error of the relative rotation, median over all pairs of views",
    ),
    Metric(
        key="direction_degrees",
        title="direction",
        unit="°",
        digits=2,
        better="low",
        source=(POSE, "direction_degrees"),
        explanation="angle between true and predicted baseline, median over all pairs of views",
    ),
    Metric(
        key="auc30",
        title="AUC@30",
        better="high",
        source=(POSE, "auc30"),
        explanation="area under the accuracy curve of the larger of both angles, up to 30°",
    ),
)
MANY = "_many"  # at the end of a key: the same on the larger scenes of a run
MANY_QUALITY = (
    Metric(
        key="abs_rel_many",
        title="AbsRel, many views",
        better="low",
        explanation="the same on the scenes of more views",
    ),
    Metric(
        key="auc30_many",
        title="AUC@30, many views",
        better="high",
        explanation="the same on the scenes of more views",
    ),
)
COSTS = (
    Metric(
        key="latency_ms",
        title="latency",
        unit="ms",
        digits=0,
        better="low",
        explanation="median time of one scene on this machine, interleaved repetitions",
    ),
    Metric(
        key="latency_ms_many",
        title="latency, many views",
        unit="ms",
        digits=0,
        better="low",
        explanation="the same of a scene of more views",
    ),
    Metric(
        key="peak_memory_mb",
        title="memory",
        unit="MB",
        digits=0,
        better="low",
        explanation="peak memory of one scene, above what the process held before",
    ),
    Metric(
        key="peak_memory_mb_many",
        title="memory, many views",
        unit="MB",
        digits=0,
        better="low",
        explanation="the same of a scene of more views",
    ),
    Metric(
        key="weights_mb",
        title="weights",
        unit="MB",
        digits=1,
        better="low",
        explanation="all weights as they lie in memory",
    ),
    Metric(
        key="disk_mb",
        title="file",
        unit="MB",
        digits=1,
        better="low",
        explanation="all weights as a file: of a student, what lite3r export writes",
    ),
    Metric(
        key="density",
        title="kept",
        unit="%",
        digits=1,
        scale=100.0,
        explanation="share of the query-key pairs of global attention that softmax attention sees",
    ),
    Metric(
        key="trained_parameters",
        title="trained",
        unit="parameters",
        digits=0,
        explanation="how many numbers distillation changed",
    ),
)
METRICS = (*QUALITY, *MANY_QUALITY, *COSTS)
