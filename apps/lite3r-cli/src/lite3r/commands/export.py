"""`lite3r export`: a student that loads without its teacher, for others to use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional

from lite3r.distillation import card
from lite3r.shell import atomic
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.deploy import export, load
from lite3r.student.files import DEPLOYED
from lite3r.student.student import Student
from recon_backbones.program import PROGRAM, Shape, write_program

Kind = Literal["deployed", "hub", "program"]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a student so that it loads without its teacher, FP8 as FP8."""

    model: Positional[Path]
    """A student's folder, as runs/da3-tiny."""
    out: Path
    """Folder to write."""
    kind: Kind = "deployed"
    """deployed: weights and recipe. hub: the same with a model card, ready to upload; nothing is
    uploaded. program: also a torch.export program for a fixed shape."""
    views: int = 8
    """Views that the program takes."""
    height: int = 224
    """Height of an image that the program takes, in pixels."""
    width: int = 224
    """Width of an image that the program takes, in pixels."""
    weights: str | None = None
    """The teacher's weights, when they are no longer where they were."""
    overwrite: bool = False
    """Replace that folder."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        for name in ("views", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")

    def run(self) -> None:
        """Load, deploy, write everything or nothing."""
        terminal = Terminal(self.output)
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
