"""`lite3r view`: look at reconstructions, as one file that a browser opens."""

import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from lite3r.shell import atomic
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Output, Terminal
from recon_eval.reconstruction import PointOptions, read_models, write_page


@dataclass(frozen=True, kw_only=True)
class View:
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

    def run(self) -> None:
        """Read the reconstructions, write the page, open it if asked to."""
        terminal = Terminal(self.output)
        path = self.html or self.folders[0] / "view.html"
        with reported():
            atomic.refuse_existing(path, overwrite=self.overwrite or self.html is None)
            options = PointOptions(
                confidence_percentile=self.confidence_percentile,
                edge_tolerance=self.edge_tolerance,
                max_points=self.max_points,
            )
            models = read_models(self.folders, options)
            atomic.check_writable(path.parent)
        title = " / ".join(model.label for model in models)
        with reported():
            write_page(path, models, title=title, max_points=self.max_points)
        size = path.stat().st_size
        terminal.result({"html": str(path), "bytes": size}, f"{path}: {size / 1e6:.1f} MB")
        if self.open:
            webbrowser.open(path.absolute().as_uri())
