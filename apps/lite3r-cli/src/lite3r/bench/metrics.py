"""Every figure that a table shows, once: its key, its words, its unit."""

from recon_eval import PROTOCOLS
from recon_eval.pages import Column

MANY = "_many"  # at the end of a key: the same on the larger scenes of a run
AGAIN = "the same on the scenes of more views"

COSTS = tuple(
    Column(key=key, title=title, unit=unit, digits=digits, explanation=explanation)
    for key, title, unit, digits, explanation in (
        ("latency_ms", "latency", "ms", 0, "median time of one scene, interleaved repetitions"),
        ("latency_ms_many", "latency, many views", "ms", 0, AGAIN),
        ("peak_memory_mb", "memory", "MB", 0, "peak of one scene, above what was held before"),
        ("peak_memory_mb_many", "memory, many views", "MB", 0, AGAIN),
        ("weights_mb", "weights", "MB", 1, "all weights as they lie in memory"),
        ("disk_mb", "file", "MB", 1, "all weights as a file: of a student, what export writes"),
    )
)
SEEN = "share of the query-key pairs of global attention that softmax attention sees"
TRAINED = "how many numbers distillation changed"
COUNTS = tuple(
    Column(key=key, title=title, unit=unit, digits=digits, scale=scale, better=None, explanation=of)
    for key, title, unit, digits, scale, of in (
        ("density", "kept", "%", 1, 100, SEEN),
        ("trained_parameters", "trained", "parameters", 0, 1, TRAINED),
    )
)
METRICS = (
    *PROTOCOLS["median"].columns,
    Column(key="abs_rel_many", title="AbsRel, many views", explanation=AGAIN),
    Column(key="auc30_many", title="AUC@30, many views", better="high", explanation=AGAIN),
    *COSTS,
    *COUNTS,
)
