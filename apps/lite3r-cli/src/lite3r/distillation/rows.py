"""The rows of a run's table, and the sentence that they come down to."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lite3r.bench.costs import Cost
from lite3r.bench.metrics import MANY
from recon_backbones import Backbone
from recon_eval import PROTOCOLS, Report, means
from recon_eval.efficiency import weight_bytes

TEACHER, HALF = "teacher", "teacher, bfloat16"
UNTRAINED, STUDENT, DEPLOYED = "student, untrained", "student, trained", "student, deployed"
LABELS = (TEACHER, HALF, UNTRAINED, STUDENT, DEPLOYED)
MB = 1e6

Row = dict[str, Any]


def quality(reports: Mapping[str, Report], many: Mapping[str, Report], *, truth: bool) -> list[Row]:
    """One row a model with what it is worth.

    - `truth`: False where the teacher is the truth, which is not compared with itself.
    """
    rows = []
    for label in (name for name in LABELS if name in reports):
        found: Row = dict(means(reports[label]))
        if label == TEACHER and not truth:
            found = dict.fromkeys(metric.key for metric in PROTOCOLS["median"].columns)
        larger = means(many[label]) if label in many else {}
        rows.append({"label": label, **found, **{k + MANY: v for k, v in larger.items()}})
    return rows


def spent(cost: Cost | None, larger: Cost | None) -> Row:
    """Time and working memory of one scene, and of one of more views."""
    found: Row = {}
    for ending, one in (("", cost), (MANY, larger)):
        found[f"latency_ms{ending}"] = None if one is None else one.latency_ms
        found[f"peak_memory_mb{ending}"] = None if one is None else one.peak_memory_bytes / MB
    return found


def weights(model: Backbone, *, exported: bool) -> Row:
    """Megabytes of a model's weights in memory and as a file.

    - `exported`: whether its file is what `export` writes: float32 where there is no FP8.
    """
    held = weight_bytes(model)
    on_disk = weight_bytes(model, _in_file) if exported else held
    return {"weights_mb": held / MB, "disk_mb": on_disk / MB}


def sentence(rows: Sequence[Row], views: int, many: int) -> str:
    """How much faster, how much smaller, how much worse, and at how many views."""
    student, teachers = rows[-1], [row for row in rows if row["label"] in (TEACHER, HALF)]
    at, ending = (many, MANY) if student.get(f"latency_ms{MANY}") else (views, "")
    best = min(row[f"latency_ms{ending}"] for row in teachers)
    faster = best / student[f"latency_ms{ending}"]
    smaller = student["weights_mb"] / teachers[0]["weights_mb"]
    pace = f"{faster:.2f} times as fast as" + (" the faster form of" if len(teachers) > 1 else "")
    return (
        f"At {at} views the student is {pace} its teacher, its weights take {smaller:.2f} of the "
        f"memory, and {_worse(teachers[0], student, views)}"
    )


def _worse(teacher: Row, student: Row, views: int) -> str:
    if student["abs_rel"] is None:
        return "nothing was there to compare its answers with."
    if teacher["abs_rel"] is None:
        return f"at {views} views its depth differs from the teacher's by {student['abs_rel']:.2%}."
    ratio = student["abs_rel"] / teacher["abs_rel"]
    points = 100 * (student["auc30"] - teacher["auc30"])
    return (
        f"at {views} views its depth error is {ratio:.3f} times the teacher's, its AUC@30 "
        f"{points:+.1f} points."
    )


def _in_file(x: torch.Tensor) -> int:
    return 4 if x.dtype == torch.bfloat16 else x.element_size()
