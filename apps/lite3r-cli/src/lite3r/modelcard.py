"""A folder for the Hugging Face Hub: a student, and a card that says what it is and is worth.

Nothing is uploaded: the card's last section holds the command that does it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recon_backbones.registry import backbone_entry

from .report.columns import markdown_table
from .runs import REPORT
from .student import Student

LICENCES = {"Apache-2.0": "apache-2.0", "CC BY-NC 4.0": "cc-by-nc-4.0"}
METRICS = {"absrel": "AbsRel", "delta1": "delta1", "auc30": "AUC@30"}
PIPELINE = "depth-estimation"


def card(student: Student, report: Mapping[str, Any] | None, *, name: str) -> str:
    """The model card: metadata in YAML, then Markdown."""
    entry = backbone_entry(student.teacher.backbone)
    recipe = student.recipe
    fp8 = "none" if recipe.fp8 == "none" else f"{recipe.fp8}, weights stored as FP8"
    lines = [
        *_metadata(student, report),
        f"# A light student of {student.teacher.backbone}",
        "",
        "Depth and cameras from photos of one scene, in one pass. Made with "
        f"Lite3R from {_source(student, entry.hub)}: its {recipe.scope} attention is sparse and "
        "linear, and only what the recipe names was trained, by distillation, without labels.",
        "",
        "| | |",
        "|---|---|",
        f"| attention | keeps {recipe.keep:.0%} of the key blocks of {recipe.block[0]} x "
        f"{recipe.block[1]} tokens, {recipe.token_order} order |",
        f"| linear layers in FP8 | {fp8} |",
        f"| trained | {recipe.trainable} |",
        f"| SHA-256 of the teacher's weights | `{student.weights_sha256}` |",
        f"| licence | {entry.licence}, that of the teacher's weights |",
        "",
        "## Use",
        "",
        "```python",
        "import lite3r",
        'student = lite3r.load("FOLDER")  # this folder, downloaded',
        "```",
        "",
        'Then `student.reconstruct(["a.jpg", "b.jpg"])`, or on the command line '
        "`lite3r reconstruct PHOTOS --model FOLDER`.",
        "",
        *_measured(report),
        "## Upload",
        "",
        f"`hf upload USER/{name} {name}` (it asks nobody else: look at the folder first).",
    ]
    return "\n".join(lines) + "\n"


def read_report(run: Path) -> dict[str, Any] | None:
    """The report of a run, or None where there is none. Raises ValueError for a damaged one."""
    path = run / REPORT
    if not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        report["rows"][-1]["label"], report["environment"]["versions"], report["facts"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    return report


def _source(student: Student, hub: str | None) -> str:
    kind = student.teacher.weights
    where = {"hub": f"https://huggingface.co/{hub}", "random": "random weights (a test)"}
    where["bundled"] = "the weights that ship with recon-backbones"
    return f"{student.teacher.backbone}, {where.get(kind, 'weights from a file')}"


def _metadata(student: Student, report: Mapping[str, Any] | None) -> list[str]:
    entry = backbone_entry(student.teacher.backbone)
    licence = LICENCES.get(entry.licence, "other")
    lines = ["---", f"license: {licence}"]
    if licence == "other":
        lines.append(f"license_name: {json.dumps(entry.licence)}")
    lines += ["library_name: lite3r", f"pipeline_tag: {PIPELINE}"]
    if entry.hub and student.teacher.weights == "hub":
        lines.append(f"base_model: {entry.hub}")
    lines += ["tags:", "- 3d-reconstruction", "- sparse-attention", "- fp8", *_index(report)]
    return [*lines, "---", ""]


def _index(report: Mapping[str, Any] | None) -> list[str]:
    """The results as the Hub's evaluation metadata."""
    values = _student_row(report)
    found = [(name, title) for name, title in METRICS.items() if values.get(name) is not None]
    if report is None or not found:
        return []
    lines = [
        "model-index:",
        "- name: student",
        "  results:",
        "  - task:",
        f"      type: {PIPELINE}",
    ]
    lines += ["    dataset:", f"      name: {_fact(report, 'data')}", "      type: unseen-scenes"]
    lines.append("    metrics:")
    for name, title in found:
        lines += [f"    - type: {name}", f"      name: {title}", f"      value: {values[name]:.4f}"]
    return lines


def _measured(report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return ["## What it measured", "", "Nothing: the run holds no report.json.", ""]
    environment = report["environment"]
    where = environment["gpu"] or f"{environment['processor']}, {environment['cores']} cores"
    versions = ", ".join(f"{name} {one}" for name, one in environment["versions"].items())
    rows: Sequence[Any] = report["rows"]
    return [
        "## What it measured",
        "",
        markdown_table(list(rows)),
        f"Data: {_fact(report, 'data')}. Measured on {where}; {versions}. `report.json` holds "
        "every number.",
        "",
        *(f"{note}\n" for note in report.get("notes", ())),
    ]


def _student_row(report: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return report["rows"][-1] if report else {}


def _fact(report: Mapping[str, Any], label: str) -> str:
    found = dict(tuple(pair) for pair in report["facts"]).get(label, "unknown")
    return json.dumps(found, ensure_ascii=False) if ":" in found else found
