"""`lite3r export`: a student that loads without its teacher, for others to use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from lite3r.shell.command import Command
from lite3r.shell.errors import check_least
from lite3r.shell.terminal import Output

Kind = Literal["deployed", "hub", "program", "onnx"]


@dataclass(frozen=True, kw_only=True)
class Export(Command, work="lite3r.commands.export:run"):
    """Write a student so that it loads without its teacher, FP8 as FP8."""

    model: Positional[Path]
    """A student's folder, as runs/da3-tiny; for ONNX also teacher, the dense backbone."""
    out: Path
    """Folder to write."""
    kind: Annotated[Kind, arg(aliases=["--to"])] = "deployed"
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
    backbone: str | None = None
    """Which dense backbone, for ONNX of teacher; da3-tiny unless given."""
    weights: str | None = None
    """The teacher's weights, when they are no longer where they were."""
    overwrite: bool = False
    """Replace that folder."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        check_least(self, 1, "views", "height", "width")
        if (self.out / "model.safetensors").exists() and self.out.resolve() == self.model.resolve():
            raise ValueError(f"out={self.out}; the student there would be lost: name another --out")
        if self.kind != "onnx" and (self.dense or str(self.model) == "teacher"):
            raise ValueError(f"kind={self.kind}; teacher and --dense need onnx: add --kind onnx")
        shape = (self.views, self.height, self.width)
        if self.kind in ("deployed", "hub") and shape != (8, 224, 224):
            raise ValueError(f"kind={self.kind}; it has no width, height or views: --kind program")
