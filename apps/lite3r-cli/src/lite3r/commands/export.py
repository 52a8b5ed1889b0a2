"""`lite3r export`: a student that loads without its teacher."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a student with all its weights, FP8 as FP8: it loads without its teacher."""

    model: Positional[Path]
    """A student's folder, as runs/da3-tiny."""
    out: Path
    """Folder to write."""
    weights: str | None = None
    """The teacher's weights, when they are no longer where they were."""
    overwrite: bool = False
    """Replace that folder."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

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
                size = (partial / DEPLOYED).stat().st_size
        terminal.say(str(report))
        terminal.result(
            report.as_dict() | {"out": str(self.out), "bytes": size},
            f"{self.out}: {size / 1e6:.1f} MB, {len(report.layers)} FP8 layers; "
            f'load it with lite3r.load("{self.out}")',
        )
