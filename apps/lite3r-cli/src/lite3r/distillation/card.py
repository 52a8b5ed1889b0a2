"""A folder for the Hugging Face Hub: a student, and a card that says what it is and is worth.

Nothing is uploaded: the card's last section holds the command that does it.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lite3r.bench.metrics import METRICS
from lite3r.student.student import Student
from recon_backbones.registry import backbone_entry
from recon_eval import PROTOCOLS
from recon_eval.efficiency import place
from recon_eval.pages import card_head, markdown_table
from recon_eval.pages import hub_library as hub_library


def card(student: Student, report: Mapping[str, Any] | None, *, name: str) -> str:
    """The model card: metadata in YAML, then Markdown."""
    entry = backbone_entry(student.teacher.backbone)
    recipe = student.recipe
    upload = shlex.join(["hf", "upload", f"USER/{'-'.join(name.split())}", name])
    fp8 = "none" if recipe.fp8 == "none" else f"{recipe.fp8}, weights stored as FP8"
    lines = [
        _metadata(student, report),
        f"# A light student of {student.teacher.backbone}",
        "",
        "Depth and cameras from photos of one scene, in one pass. Made with Lite3R from "
        f"{_source(student, entry.hub)}: its {' and '.join(recipe.scopes)} attention is sparse, "
        "and only what the recipe names was trained, by distillation, without labels.",
        "",
        "| | |",
        "|---|---|",
        f"| attention | {recipe.words()} |",
        f"| linear layers in FP8 | {fp8} |",
        f"| trained | {recipe.trainable} |",
        f"| SHA-256 of the teacher's weights | `{student.weights_sha256}` |",
        f"| license | {entry.license}, that of the teacher's weights |",
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
        f"`{upload}` (it asks nobody else: look at the folder first).",
    ]
    return "\n".join(lines) + "\n"


def _source(student: Student, hub: str | None) -> str:
    kind = student.teacher.weights
    where = {"hub": f"https://huggingface.co/{hub}", "random": "random weights (a test)"}
    where["bundled"] = "the weights that ship with recon-backbones"
    return f"{student.teacher.backbone}, {where.get(kind, 'weights from a file')}"


def _metadata(student: Student, report: Mapping[str, Any] | None) -> str:
    """What the Hub reads at the top of a card."""
    entry = backbone_entry(student.teacher.backbone)
    return card_head(
        PROTOCOLS["median"].columns,
        None if report is None else report["rows"][-1],
        name="student",
        data=dict((report or {"facts": ()})["facts"]).get("data", "unknown"),
        license=entry.license,
        base_model=entry.hub if student.teacher.weights == "hub" else None,
        library="lite3r",
        tags=["3d-reconstruction", "sparse-attention", *["fp8"] * (student.recipe.fp8 != "none")],
    )


def _measured(report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return ["## What it measured", "", "Nothing: the run holds no report.json.", ""]
    environment = report["environment"]
    versions = ", ".join(f"{name} {one}" for name, one in environment["versions"].items())
    rows: Sequence[Any] = report["rows"]
    return [
        "## What it measured",
        "",
        markdown_table(METRICS, rows),
        f"Data: {dict(report['facts'])['data']}. Measured on {place(environment)}; {versions}. "
        "`report.json` holds every number.",
        "",
        *(f"{note}\n" for note in report.get("notes", ())),
    ]
