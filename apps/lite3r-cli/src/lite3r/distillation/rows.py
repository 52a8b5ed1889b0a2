"""The rows of a run's table, and the sentence that they come down to."""

from collections.abc import Mapping, Sequence
from typing import Any

from fp8_qat.files.tensors import narrowed
from lite3r.bench.costs import Cost
from lite3r.bench.metrics import MANY
from recon_backbones import Backbone
from recon_eval import PROTOCOLS, Report, change_in_words, means
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


def weights(model: Backbone, teacher: Backbone | None = None) -> Row:
    """Megabytes of a model's weights in memory and as a file.

    - `teacher`: of a student, whose file is what `export` writes: what is not FP8 as bfloat16 where
      the teacher's weights came so, and as float32 else.
    """
    held = on_disk = weight_bytes(model)
    if teacher is not None:
        wide = max(narrowed(weight).itemsize for weight in teacher.parameters())
        rounded = [x for x in model.parameters() if x.itemsize > 1]
        on_disk += sum(x.numel() * (wide - x.itemsize) for x in rounded)
    return {"weights_mb": held / MB, "disk_mb": on_disk / MB}


def sentence(rows: Sequence[Row], views: int, many: int) -> str:
    """How much faster, how much smaller, how much worse, and at how many views."""
    student, teachers = rows[-1], [row for row in rows if row["label"] in (TEACHER, HALF)]
    at, ending = (many, MANY) if student.get(f"latency_ms{MANY}") else (views, "")
    best = min(row[f"latency_ms{ending}"] for row in teachers)
    faster = best / student[f"latency_ms{ending}"]
    whole, *half = (f"{row['weights_mb']:.1f}" for row in teachers)
    pace = f"{faster:.2f} times as fast as" + (" the faster form of" if half else "")
    held = f"{student['weights_mb']:.1f} MB in place of {whole}"
    return (
        f"At {at} views the student is {pace} its teacher, its weights take {held}"
        f"{f' ({half[0]} in bfloat16)' if half else ''}, and "
        f"{_worse(teachers[0], student, {views: '', many: MANY})}"
    )


def _worse(teacher: Row, student: Row, groups: Mapping[int, str]) -> str:
    """What is lost, by numbers of views and the ending of their figures."""
    if student["abs_rel"] is None:
        return "nothing was there to compare its answers with."
    if teacher["abs_rel"] is None:
        differs = f"its depth differs from the teacher's by {student['abs_rel']:.2%}"
        return f"at {next(iter(groups))} views {differs}."
    known = {views: end for views, end in groups.items() if student.get(f"abs_rel{end}")}
    depth, cameras = (
        " and ".join(
            f"{change_in_words(key, teacher[key + end], student[key + end])} at {views}"
            for views, end in known.items()
        )
        for key in ("abs_rel", "auc30")
    )
    return (
        f"its error of depth (AbsRel) is {depth} views, "
        f"its score of cameras (AUC@30, of 100) {cameras}."
    )
