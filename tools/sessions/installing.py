"""What goes into the environment of a session, and how."""

import sys

import nox

from .projects import CONSTRAINTS, PROJECTS, ROOT, wheel
from .pytorch import see_torch

QUICKLY = ("install", "-q", "--no-compile", "-c", str(CONSTRAINTS))
"""Words for pip: the constraints pin PyTorch, and most of what is installed is never imported,
so Python compiles a module when it is."""


def pip(session: nox.Session, *requirements: str) -> None:
    """Install through the constraints."""
    session.install(*QUICKLY[1:], *requirements)


def install(session: nox.Session, names: list[str], *more: str) -> None:
    """Install packages of this repository from their wheels, and what else is named."""
    see_torch(session)
    wheels = [wheel(name) for name in names]
    pip(session, *wheels, *more)
    pip(session, "--force-reinstall", "--no-deps", *wheels)  # the same version, other code


def install_all(session: nox.Session, *more: str) -> None:
    """Install every package, for checks of the whole."""
    install(session, list(PROJECTS), *more)


def everything(session: nox.Session, given: list[str]) -> str:
    """The Python of an environment that holds what is given, all packages, and nothing else."""
    folder = ROOT / ".nox" / "release-parts"
    session.run_install(sys.executable, "-m", "venv", "--clear", str(folder), external=True)
    see_torch(session, folder=folder)
    constrained = ("install", "-q", "-c", str(CONSTRAINTS), *given)
    session.run_install(str(folder / "bin/pip"), *constrained, external=True)
    return str(folder / "bin/python")
