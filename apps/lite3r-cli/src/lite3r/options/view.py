"""`lite3r view`: look at reconstructions, as one file that a browser opens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from lite3r.shell.command import Command
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class View(Command, work="lite3r.commands.view:run"):
    """Look at a reconstruction, or at several of the same photos with a switch between them."""

    folders: Positional[tuple[Path, ...]]
    """Folders that `lite3r reconstruct` wrote, as reconstructions/garden; each holds an npz."""
    html: Path | None = None
    """The file to write; it opens without a server. view.html in the first folder unless given."""
    overwrite: bool = False
    """Replace that file."""
    open: bool = False
    """Open it in the browser."""
    confidence_percentile: float = 0.0
    """Leave this share (percent) of the pixels out: those of least confidence."""
    edge_tolerance: float = 0.1
    """Leave pixels out whose depth differs from a neighbor's by more than this fraction."""
    max_points: int = 400_000
    """Thin each reconstruction to at most this many points, one per voxel."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders=(); it must name one at least: what reconstruct wrote")
        if self.html is not None and self.html.suffix != ".html":
            raise ValueError(f"html={self.html}; a page must end in .html: rename it")
