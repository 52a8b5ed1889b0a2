"""`lite3r view`: look at reconstructions, in a viewer or as one file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional

from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class View:
    """Look at a reconstruction, or at several of the same photos with a switch between them."""

    folders: Positional[tuple[Path, ...]]
    """Folders that `lite3r reconstruct` wrote, as reconstructions/garden; each holds an npz."""
    html: Path | None = None
    """Write one HTML file that opens without a server, instead of serving."""
    overwrite: bool = False
    """Replace that file."""
    host: str = "localhost"
    """Address to listen at; others than localhost let other machines look."""
    port: int = 8080
    """Port to listen at; the next free one when it is taken."""
    confidence_percentile: float = 0.0
    """Leave this share (percent) of the pixels out: those of least confidence."""
    edge_tolerance: float = 0.1
    """Leave pixels out whose depth differs from a neighbour's by more than this fraction."""
    max_points: int = 400_000
    """Thin each reconstruction to at most this many points, one per voxel."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders: name at least one folder that lite3r reconstruct wrote")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port is {self.port}; it must be at least 0 (any) and below 65536")
        if self.html is not None and self.html.suffix != ".html":
            raise ValueError(f"html is {self.html}; a page ends in .html")

    def run(self) -> None:
        """Read the reconstructions, then write the page, or serve until Ctrl-C."""
        from ..errors import reported
        from ..export import PointOptions
        from ..terminal import Terminal
        from ..viewing import read_models

        terminal = Terminal(self.output)
        with reported():
            options = PointOptions(
                confidence_percentile=self.confidence_percentile,
                edge_tolerance=self.edge_tolerance,
                max_points=self.max_points,
            )
            models = read_models(self.folders, options)
        if self.html is None:
            self._serve(models, terminal)
        else:
            self._write(models, self.html, terminal)

    def _write(self, models: Any, path: Path, terminal: Any) -> None:
        from .. import atomic
        from ..errors import UserError, reported
        from ..export import write_html

        if path.exists() and not self.overwrite:
            raise UserError(f"{path} exists already; add --overwrite, or choose another")
        with reported():
            atomic.check_writable(path.parent)
            title = " / ".join(model.label for model in models)
            write_html(path, models, title=title, max_points=self.max_points)
        size = path.stat().st_size
        terminal.result({"html": str(path), "bytes": size}, f"{path}: {size / 1e6:.1f} MB")

    def _serve(self, models: Any, terminal: Any) -> None:
        import io
        from contextlib import redirect_stdout

        from ..viewing import open_viewer

        with redirect_stdout(io.StringIO()):  # viser speaks of itself
            server = open_viewer(models, host=self.host, port=self.port)
        url = f"http://{self.host}:{server.get_port()}"
        terminal.result({"url": url}, f"look at {url}; Ctrl-C ends it")
        with redirect_stdout(io.StringIO()):
            try:
                server.sleep_forever()
            except KeyboardInterrupt:
                terminal.say("closed")
            finally:
                server.stop()
