"""`lite3r export`: a student that loads without its teacher, for others to use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional

from ..terminal import Output

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
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def run(self) -> None:
        """Load, deploy, write everything or nothing."""
        from .. import atomic
        from ..errors import UserError, reported
        from ..student import DEPLOYED, load
        from ..terminal import Terminal

        terminal = Terminal(self.output)
        if self.out.exists() and not self.overwrite:
            raise UserError(f"{self.out} exists already; add --overwrite, or choose another --out")
        with reported():
            atomic.check_writable(self.out)
            student = load(self.model, weights=self.weights)
            with atomic.new_folder(self.out, overwrite=self.overwrite) as partial:
                report = student.export(partial)
                more = self._more(student, partial, terminal)
                size = (partial / DEPLOYED).stat().st_size
        terminal.say(str(report))
        terminal.result(
            report.as_dict() | more | {"out": str(self.out), "bytes": size},
            f"{self.out}: {size / 1e6:.1f} MB, {len(report.layers)} FP8 layers; load it with\n\n"
            f"    import lite3r\n    {self._loading()}\n",
        )

    def _more(self, student: Any, folder: Path, terminal: Any) -> dict[str, Any]:
        if self.kind == "hub":
            return self._card(student, folder, terminal)
        if self.kind == "program":
            return self._program(student, folder, terminal)
        return {}

    def _card(self, student: Any, folder: Path, terminal: Any) -> dict[str, Any]:
        from .. import atomic
        from ..modelcard import card, read_report

        report = read_report(self.model)
        atomic.write_text(folder / "README.md", card(student, report, name=self.out.name))
        if report is None:
            terminal.say(
                f"{self.model} holds no report.json: the card says that nothing was measured"
            )
        else:
            atomic.write_json(folder / "report.json", report)
        return {"card": "README.md", "measured": report is not None}

    def _program(self, student: Any, folder: Path, terminal: Any) -> dict[str, Any]:
        from ..program import PROGRAM, Shape, write_program

        terminal.say("tracing the program ...")
        shape = Shape(views=self.views, height=self.height, width=self.width)
        difference = write_program(folder / PROGRAM, student.backbone, shape, student.config())
        terminal.say(f"read back, its depth is the student's within {difference:.2g} of the median")
        return {"program": PROGRAM, "largest_difference": difference}

    def _loading(self) -> str:
        if self.kind == "program":
            return f'program = lite3r.load_program("{self.out}/program.pt2")'
        return f'student = lite3r.load("{self.out}")'
