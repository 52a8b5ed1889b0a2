"""Environments that each hold one package alone, made while the tests of others run.

Installing keeps one core busy and tests keep all; so what one call of nox asks for is made side by
side, from the first session on. An environment is kept until what it is made of changes: then only
the wheels of this repository are installed into it again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nox

from .installing import QUICKLY
from .projects import (
    CONSTRAINTS,
    PROJECTS,
    ROOT,
    closure,
    for_tests,
    import_name,
    siblings,
    wheel,
)
from .pytorch import python_version, site_packages, torch_layer

XDIST = "pytest-xdist==3.8.0"
_made: dict[str, Future[Path]] = {}


def environment(session: nox.Session, name: str) -> Path:
    """The programs of an environment with one package, what it declares and what its tests need.

    The package is imported before there is anything in it that the package does not declare.
    """
    if name not in _made:
        layer = torch_layer(session)
        kind = session.name.partition("(")[0]
        manifest = session._runner.manifest  # nox tells nobody else which sessions it will run
        asked = [name, *(n for n in PROJECTS if n != name and f"{kind}({n})" in manifest)]
        pool = ThreadPoolExecutor(os.cpu_count())
        made_of = f"{CONSTRAINTS.read_text()}{python_version(session)}"
        _made.update({n: pool.submit(_make, n, layer, made_of) for n in asked if n not in _made})
    try:
        return _made[name].result()
    except subprocess.CalledProcessError as error:
        session.error(f"{' '.join(error.cmd)}\n{error.output}")


def _make(name: str, layer: Path, made_of: str) -> Path:
    """Install one package with only what it declares, import it, then install what tests need."""
    folder = ROOT / ".nox" / f"alone-{name}"
    stamp, programs = folder / "stamp", folder / "bin"
    declared = (PROJECTS[n]["project"].get("dependencies", ()) for n in closure(name))
    requirements = [*sorted(line for lines in declared for line in lines), *for_tests(name), XDIST]
    wanted = hashlib.sha256("\n".join([made_of, *requirements]).encode()).hexdigest()
    wheels = [wheel(n) for n in closure(name)]
    install = (str(programs / "pip"), *QUICKLY)
    module = import_name(name)
    alone = ("tools/check_alone.py", module, *map(import_name, siblings(name)))
    if stamp.exists() and stamp.read_text() == wanted:
        _run(*install, "--force-reinstall", "--no-deps", *wheels)  # the same version, other code
        _run(str(programs / "python"), *alone)
        return programs
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "virtualenv", "-q", str(folder))
    (site_packages(folder) / "_torch_layer.pth").write_text(f"{layer}\n")
    _run(*install, *wheels)
    _run(str(programs / "python"), *alone)
    _run(*install, XDIST, *for_tests(name))
    stamp.write_text(wanted)
    return programs


def _run(*command: str) -> None:
    """Raises CalledProcessError, with all that was said, where a command fails."""
    subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
