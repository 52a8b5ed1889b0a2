"""What `lite3r export` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lite3r.distillation import card
from lite3r.distillation.folder import read_report
from lite3r.options.export import Export
from lite3r.shell import atomic
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student.deploy import export, load
from lite3r.student.files import CONFIG, DEPLOYED
from lite3r.student.graph import GRAPH, TEACHER, to_write, write_graph
from lite3r.student.student import Student, check_backbone
from recon_backbones.export import check_packages
from recon_backbones.program import FIELDS, PROGRAM, Shape, write_program

SHAPES = ("recon_backbones.backbone",)  # says which images a network reads
WRITTEN = (CONFIG, DEPLOYED, "README.md", "report.json", PROGRAM, GRAPH, f"{GRAPH}.data")


def run(asked: Export, terminal: Terminal) -> None:
    """Load, deploy, write everything or nothing."""
    with reported():
        if str(asked.model) != TEACHER:
            check_backbone(asked.model, asked.backbone)
        atomic.refuse_existing(asked.out, overwrite=asked.overwrite)
        atomic.check_writable(asked.out)
        atomic.refuse_foreign(asked.out, "export of lite3r", lambda name: name in WRITTEN)
    if asked.kind == "onnx":
        _onnx(asked, terminal)
        return
    with reported():
        if asked.kind == "hub":
            card.hub_library()
        measured = read_report(asked.model)
        student = load(asked.model, weights=asked.weights, backend=None)
    checks = reported(of=("lite3r.student.deploy", *SHAPES, "recon_backbones.program"))
    with checks, atomic.new_folder(asked.out, overwrite=asked.overwrite) as partial:
        report = export(student, partial)
        more = _more(asked, student, measured, partial, terminal)
        size = (partial / DEPLOYED).stat().st_size
    terminal.say(str(report).partition("\n")[0])  # of a hundred lines; --json has them all
    terminal.result(
        report.as_dict() | more | {"out": str(asked.out), "bytes": size},
        f"{asked.out}: {size / 1e6:.1f} MB, {len(report.layers)} FP8 layers; load it with\n\n"
        f"    import lite3r\n    {_loading(asked)}\n",
    )


def _onnx(asked: Export, terminal: Terminal) -> None:
    """Write a graph alone, with the options that it was made with beside it."""
    with reported():
        check_packages()
        network = to_write(str(asked.model), backbone=asked.backbone, weights=asked.weights)
    shape = _shape(asked)
    checks = reported(of=("lite3r.student.graph", *SHAPES, "recon_backbones.export"))
    with checks, atomic.new_folder(asked.out, overwrite=asked.overwrite) as partial:
        terminal.say("tracing the graph ...")
        made = write_graph(partial / GRAPH, network, shape, dense=asked.dense)
    found = {"graph": GRAPH, "largest_difference": made.difference, "bytes": made.bytes}
    terminal.result(
        found | {"out": str(asked.out), "shape": vars(shape), "outputs": list(FIELDS)},
        f"{asked.out}/{GRAPH}: {made.bytes / 1e6:.1f} MB, 1 scene of {asked.views} views of "
        f"{asked.width} x {asked.height}; read by onnxruntime, its depth is PyTorch's within "
        f"{made.difference:.2g} of the median",
    )


def _more(
    asked: Export,
    student: Student,
    measured: Mapping[str, Any] | None,
    folder: Path,
    terminal: Terminal,
) -> dict[str, Any]:
    if asked.kind == "hub":
        text = card.card(student, measured, name=asked.out.resolve().name)
        atomic.write_text(folder / "README.md", text)
        if measured is None:
            terminal.say(f"{asked.model} holds no report.json: the card says so")
        else:
            atomic.write_json(folder / "report.json", measured)
        return {"card": "README.md", "measured": measured is not None}
    if asked.kind == "program":
        terminal.say("tracing the program ...")
        off = write_program(folder / PROGRAM, student.backbone, _shape(asked), student.config())
        terminal.say(f"read back, its depth is the student's within {off:.2g} of the median")
        return {"program": PROGRAM, "largest_difference": off}
    return {}


def _shape(asked: Export) -> Shape:
    return Shape(views=asked.views, height=asked.height, width=asked.width)


def _loading(asked: Export) -> str:
    if asked.kind == "program":
        return f"program = lite3r.load_program({str(asked.out / PROGRAM)!r})"
    return f"student = lite3r.load({str(asked.out)!r})"
