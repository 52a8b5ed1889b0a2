"""Every figure that a table shows, once: its key, its words, its unit, where it comes from."""

from recon_eval.pages import Column

DEPTH, POSE = "depth/median/sequence", "pose/pairs/signed"
SOURCES = {
    "abs_rel": DEPTH,
    "delta1": DEPTH,
    "rotation_degrees": POSE,
    "direction_degrees": POSE,
    "auc30": POSE,
}
"""The protocol of a recon_eval report, whose mean over scenes a figure of quality is."""
QUALITY = (
    Column.of("abs_rel", more=", after one median scale per scene"),
    Column.of("delta1"),
    Column.of("rotation_degrees", digits=2),
    Column.of("direction_degrees", digits=2),
    Column.of("auc30"),
)
PAPER_SOURCES = {
    "abs_rel": "lite3r/depth",
    "delta1": "lite3r/depth",
    "rot_err_deg": "lite3r/pose",
    "trans_err": "lite3r/pose",
    "chamfer": "lite3r/geometry",
    "fscore": "lite3r/geometry",
}
"""The same of the protocol of the paper's code (`recon_eval.conventions.lite3r` has its flaws)."""
PAPER = (
    Column.of("abs_rel", digits=4, more=", after one least-squares scale"),
    Column.of("delta1", digits=4),
    Column(key="rot_err_deg", title="Rot", unit="°", digits=4, explanation="mean, view 0 included"),
    Column(key="trans_err", title="Trans", digits=4, explanation="mean, one scale of any sign"),
    Column(key="chamfer", title="CD", digits=4, explanation="half the mean squares, unaligned"),
    Column(key="fscore", title="F5cm", digits=4, better="high", explanation="at 0.05, unaligned"),
)
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
METRICS = (
    *QUALITY,
    Column(key="abs_rel_many", title="AbsRel, many views", explanation=AGAIN),
    Column(key="auc30_many", title="AUC@30, many views", better="high", explanation=AGAIN),
    *COSTS,
    Column(
        key="density", title="kept", unit="%", digits=1, scale=100, better=None, explanation=SEEN
    ),
    Column(
        key="trained_parameters",
        title="trained",
        unit="parameters",
        digits=0,
        better=None,
        explanation=TRAINED,
    ),
)
