"""What `lite3r view` does."""

import webbrowser

from lite3r.options.view import View
from lite3r.shell import atomic
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from recon_eval.reconstruction import PointOptions, read_models, write_page


def run(asked: View, terminal: Terminal) -> None:
    """Read the reconstructions, write the page, open it if asked to."""
    path = asked.html or asked.folders[0] / "view.html"
    with reported():
        atomic.check_new_file(path, overwrite=asked.overwrite or asked.html is None)
        options = PointOptions(
            confidence_percentile=asked.confidence_percentile,
            edge_tolerance=asked.edge_tolerance,
            max_points=asked.max_points,
        )
        models = read_models(asked.folders, options)
    title = " / ".join(model.label for model in models)
    with reported(of=("recon_eval.reconstruction",)):
        write_page(path, models, title=title, max_points=asked.max_points)
    size = path.stat().st_size
    terminal.result({"html": str(path), "bytes": size}, f"{path}: {size / 1e6:.1f} MB")
    if asked.open:
        webbrowser.open(path.absolute().as_uri())
