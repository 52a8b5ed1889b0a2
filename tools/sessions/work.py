"""What is run by hand: an environment to work in, and the measurements on a GPU."""

import sys

import nox

from .projects import CONSTRAINTS, PROJECTS, for_tests


@nox.session(default=False)
def dev(session: nox.Session) -> None:
    """Make `.venv`: every package editable in one environment, for everyday work."""
    session.run(sys.executable, "-m", "venv", ".venv", external=True)
    editable = [word for p in PROJECTS.values() for word in ("-e", str(p["path"]))]
    words = ("install", "-q", "-c", str(CONSTRAINTS), *editable, *for_tests(*PROJECTS))
    session.run(".venv/bin/pip", *words, external=True)


@nox.session(default=False, venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Check and measure all that needs a GPU, with the PyTorch that is there.

    `nox -s gpu -- --rehearse` runs the same steps on a CPU; see `tools/gpu_day.py`.
    """
    session.run("python", "tools/gpu_day.py", *session.posargs, external=True)
