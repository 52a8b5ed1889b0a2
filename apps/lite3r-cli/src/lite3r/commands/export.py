"""`lite3r export`: a student that loads without its teacher, for others to use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from lite3r.distillation import card
from lite3r.shell import atomic
from lite3r.shell.errors import check_least, reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.deploy import export, load
from lite3r.student.files import DEPLOYED
from lite3r.student.graph import GRAPH, TEACHER, to_write, write_graph
from lite3r.student.student import Student
from recon_backbones.export import check_packages
from recon_backbones.program import FIELDS, PROGRAM, Shape, write_program

Kind = Literal["deployed", "hub", "program", "onnx"]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a student so that it loads without its teacher, FP8 as FP8."""

    model: Positional[Path]
    """A student's folder, as runs/da3-tiny; for ONNX also teacher, the dense backbone."""
    out: Path
    """Folder to write."""
    kind: Annotated[Kind, tyro.conf.arg(aliases=["--to"])] = "deployed"
    """deployed: weights and recipe. hub: the same with a model card, ready to upload; nothing is
    uploaded. program: also a torch.export program for a fixed shape. onnx: a graph for one."""
    views: int = 8
    """Views that the program or graph takes."""
    height: int = 224
    """Height of an image that it takes, in pixels."""
    width: int = 224
    """Width of an image that it takes, in pixels."""
    dense: bool = False
    """In ONNX, dense attention in place of sparse: no choices, and no tie for runtimes to break."""
    backbone: str = "da3-tiny"
    """Which dense backbone, for ONNX of teacher."""
    weights: str | None = None
    """The teacher's weights, when they are no longer where they were."""
    overwrite: bool = False
    """Replace that folder."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        check_least(self, 1, "views", "height", "width")
        if self.kind != "onnx" and (self.dense or str(self.model) == TEACHER):
            raise ValueError(
                f"kind={self.kind}; it must be onnx for {TEACHER} and for --dense: add --kind onnx"
            )

    def run(self) -> None:
        """Load, deploy, write everything or nothing."""
        terminal = Terminal(self.output)
        if self.kind == "onnx":
            self._onnx(terminal)
            return
        with reported():
            atomic.refuse_existing(self.out, overwrite=self.overwrite)
            atomic.check_writable(self.out)
            if self.kind == "hub":
                card.hub_library()
            measured = card.read_report(self.model)
            student = load(self.model, weights=self.weights, backend=None)
        with reported(), atomic.new_folder(self.out, overwrite=self.overwrite) as partial:
            report = export(student, partial)
            more = self._more(student, measured, partial, terminal)
            size = (partial / DEPLOYED).stat().st_size
        terminal.say(str(report))
        terminal.result(
            report.as_dict() | more | {"out": str(self.out), "bytes": size},
            f"{self.out}: {size / 1e6:.1f} MB, {len(report.layers)} FP8 layers; load it with\n\n"
            f"    import lite3r\n    {self._loading()}\n",
        )

    def _onnx(self, terminal: Terminal) -> None:
        """Write a graph alone, with the options that it was made with beside it."""
        with reported():
            atomic.refuse_existing(self.out, overwrite=self.overwrite)
            atomic.check_writable(self.out)
            check_packages()
            network = to_write(str(self.model), backbone=self.backbone, weights=self.weights)
            shape = Shape(views=self.views, height=self.height, width=self.width)
        with reported(), atomic.new_folder(self.out, overwrite=self.overwrite) as partial:
            terminal.say("tracing the graph ...")
            made = write_graph(partial / GRAPH, network, shape, dense=self.dense)
        found = {"graph": GRAPH, "largest_difference": made.difference, "bytes": made.bytes}
        terminal.result(
            found | {"out": str(self.out), "shape": vars(shape), "outputs": list(FIELDS)},
            f"{self.out}/{GRAPH}: {made.bytes / 1e6:.1f} MB, 1 scene of {self.views} views of "
            f"{self.width} x {self.height}; read by onnxruntime, its depth is PyTorch's within "
            f"{made.difference:.2g} of the median",
        )

    def _more(
        self,
        student: Student,
        measured: Mapping[str, Any] | None,
        folder: Path,
        terminal: Terminal,
    ) -> dict[str, Any]:
        if self.kind == "hub":
            text = card.card(student, measured, name=self.out.name)
            atomic.write_text(folder / "README.md", text)
            if measured is None:
                terminal.say(f"{self.model} holds no report.json: the card says so")
            else:
                atomic.write_json(folder / "report.json", measured)
            return {"card": "README.md", "measured": measured is not None}
        if self.kind == "program":
            terminal.say("tracing the program ...")
            shape = Shape(views=self.views, height=self.height, width=self.width)
            off = write_program(folder / PROGRAM, student.backbone, shape, student.config())
            terminal.say(f"read back, its depth is the student's within {off:.2g} of the median")
            return {"program": PROGRAM, "largest_difference": off}
        return {}

    def _loading(self) -> str:
        if self.kind == "program":
            return f'program = lite3r.load_program("{self.out}/program.pt2")'
        return f'student = lite3r.load("{self.out}")'
