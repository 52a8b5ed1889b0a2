"""One PyTorch for all environments: installing it takes 20 s and 900 MB."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

from .projects import CONSTRAINTS, ROOT

NO_CUDA = sys.platform == "darwin"  # every build of PyTorch is one for the CPU there


def see_torch(
    session: nox.Session, version: str = "constrained", *, folder: Path | None = None
) -> None:
    """Let an environment, this session's unless given, import a shared PyTorch; see `torch_layer`.

    pip then counts it as installed.
    """
    own = site_packages(folder or Path(session.virtualenv.location))
    (own / "_torch_layer.pth").write_text(f"{torch_layer(session, version)}\n")


def torch_layer(session: nox.Session, version: str = "constrained") -> Path:
    """Where a version of PyTorch lies for all environments: it is installed once.

    The layer holds PyTorch and PyTorch's own requirements. It can therefore hide an undeclared use
    of those few; `nox -s arch` reports that. `version` is a requirement; "constrained" is the CPU
    build of `constraints/cpu.txt`.
    """
    python = python_version(session)
    constrained = version == "constrained"
    kind = "layer" if constrained else version.partition("==")[2] or "any"
    layer = ROOT / ".nox" / f"torch-{kind}-py{python}"
    wanted = hashlib.sha256(f"{CONSTRAINTS.read_text() * constrained}{python}".encode()).hexdigest()
    stamp = layer / "stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(layer, ignore_errors=True)
        words = ("torch", "-c", str(CONSTRAINTS)) if constrained else (version,)
        interpreter = [f"python{session.python}"] if session.python else [sys.executable]
        session.run_install(*interpreter, "-m", "venv", str(layer), external=True)
        install = (
            str(layer / "bin/pip"),
            "install",
            "-q",
            "--no-compile",
        )  # much is never imported
        session.run_install(*install, *words, external=True)
        stamp.write_text(wanted)
    return site_packages(layer)


def choose_torch(session: nox.Session, choose: Callable[..., Version], wanted: str) -> str:
    """The requirement of PyTorch that a session may install, said where it is not the one wanted.

    `choose` picks among the CPU builds that pip can see; without one the session is skipped.
    """
    if "--cuda" in session.posargs:
        return wanted
    ask = ("index", "versions", "torch", "--python-version", python_version(session))
    words = (sys.executable, "-m", "pip", *ask)
    said = str(session.run(*words, silent=True, external=True, stderr=subprocess.DEVNULL))
    listed = said.partition("Available versions:")[2].partition("\n")[0]  # by pip of any age
    seen = [Version(text) for text in listed.split(",") if text.strip()]
    least = Requirement(wanted.replace("==", ">=")).specifier
    builds = [v for v in seen if v.public in least and (v.local == "cpu" or NO_CUDA)]
    if not builds:
        session.skip(f"pip finds no CPU build of {wanted} for this Python; `-- --cuda` takes any")
    found = f"torch=={choose(builds)}"
    if found != wanted:
        session.log(f"{wanted} has no CPU build here, or a newer one: {found}")
    return found


def python_version(session: nox.Session) -> str:
    return str(session.python or f"{sys.version_info.major}.{sys.version_info.minor}")


def site_packages(prefix: Path) -> Path:
    (found,) = prefix.glob("lib/python3*/site-packages")
    return found
