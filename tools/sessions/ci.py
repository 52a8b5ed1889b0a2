"""What every push runs."""

import os
import shutil
from collections.abc import Iterable

import nox

from .installing import pip
from .projects import DIST, PROJECTS, each_package, import_name, tests_of, third_party
from .pytorch import see_torch
from .ready import environment

IN_PARALLEL = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal")


@nox.session
def build(session: nox.Session) -> None:
    """Build every package's wheel into `dist/`: what is tested is what is released."""
    pip(session, "hatchling")
    shutil.rmtree(DIST, ignore_errors=True)
    for project in PROJECTS.values():
        with session.chdir(project["path"]):
            session.run("hatchling", "build", "-t", "wheel", "-d", str(DIST), silent=True)


@nox.session(requires=["build"], venv_backend="none")
@each_package
def tests(session: nox.Session, name: str) -> None:
    """Install one package with only what it declares, import it, then test it."""
    test(session, name, "-m", "not nightly")


def test(session: nox.Session, name: str, *which: str, success_codes: Iterable[int] = (0,)) -> None:
    """Run a package's tests where it is alone, with the shapes of all arguments checked."""
    module, programs = import_name(name), environment(session, name)
    session.run(
        str(programs / "pytest"),
        *IN_PARALLEL,
        *which,
        f"--jaxtyping-packages={module},beartype.beartype",
        "--doctest-modules",
        "--pyargs",
        module,
        str(tests_of(name)),
        *session.posargs,
        env={"OMP_NUM_THREADS": "1"},  # the processes are the parallel part
        success_codes=success_codes,
        external=True,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint. `nox -s lint -- --fix` repairs what it can."""
    pip(session, "ruff==0.17.5")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]), ".")
    session.run("ruff", "check", *session.posargs, ".")


@nox.session
def arch(session: nox.Session) -> None:
    """Hold imports, papers and images against what the repository says of itself."""
    pip(session, "pytest>=8", "packaging")
    session.run("pytest", "--confcutdir=tests", "tests", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Type-check every package's sources, strictly."""
    see_torch(session)
    light = (r for r in third_party(*PROJECTS) if not r.startswith(("torch", "triton")))
    pip(session, "mypy==2.4.1", "types-psutil", *sorted(light))
    session.run("mypy", *(str(p["path"] / "src") for p in PROJECTS.values()))
