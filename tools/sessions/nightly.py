"""All that a push has no time for."""

from pathlib import Path

import nox

from .ci import IN_PARALLEL, test
from .installing import everything, install, install_all, pip
from .projects import (
    PROJECTS,
    ROOT,
    closure,
    each_package,
    for_tests,
    import_name,
    tests_of,
)
from .ready import XDIST
from .versions import PYTHONS, TRITONS

RELEASE = ROOT / "release"  # wheels and archives that are given away
WORKING = ("pytest>=8", "hypothesis>=6.100", "jsonschema>=4.20")  # what the app's tests import


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the site into `site/html`; a dead link, or a name that is not there, ends it."""
    pip(session, "mkdocs==1.6.1", "mkdocs-material==9.8.2", "mkdocstrings-python==2.0.11", "ruff")
    session.run("python", "tools/site.py", "site/pages")
    session.run("mkdocs", "build", "--quiet", "--strict", *session.posargs)


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Build wheels and source archives twice, compare, check, list their parts, print the tags."""
    pip(session, "hatchling==1.33.0", "twine==7.0.0", "cyclonedx-bom==7.5.0")
    out = str(RELEASE)
    session.run("python", "tools/release.py", "build", out)
    session.run("python", "tools/release.py", "check", out)
    wheels, archives = (sorted(map(str, RELEASE.glob(kind))) for kind in ("*.whl", "*.tar.gz"))
    session.run("twine", "check", "--strict", *wheels, *archives)
    bill = str(RELEASE / "sbom.cdx.json")
    python = everything(session, wheels)
    session.run("cyclonedx-py", "environment", "--output-reproducible", "-o", bill, python)
    session.run("python", "tools/release.py", "licenses", bill)
    session.run("python", "tools/release.py", "tags")


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Ask the Python Packaging Advisory Database about all that `lite3r` installs."""
    pip(session, "pip-audit==2.10.1")
    sources = [f"./{p['path'].relative_to(ROOT)}" for p in PROJECTS.values()]
    python = everything(session, sources)
    said = str(session.run("python", "tools/audit.py", python, silent=True))
    session.log(said.strip())
    if "\n0 parts audited" in f"\n{said}":
        session.skip("nobody answered, so nothing is known of any part: ask where a network is")


@nox.session(default=False, requires=["build"])
def hostile(session: nox.Session) -> None:
    """Hundreds of hostile files over every parser: no crash, no hang, bounded, nothing written."""
    install_all(session)
    with session.chdir("tools"):
        session.run("python", "-m", "hostile", *session.posargs)


@nox.session(default=False, requires=["build"])
def faults(session: nox.Session) -> None:
    """Kills, disks that refuse, two runs in a folder: 200 kills unless `-- --kill-points N`."""
    install_all(session, *WORKING, "beartype>=0.19", "accelerate>=1.8")
    points = session.posargs or ["--kill-points", "200"]
    session.run("pytest", "-q", "packages/distill/tests/resume", *points)
    session.run("pytest", "-q", "packages/recon-eval/tests/formats/test_full_disk.py")
    app = "apps/lite3r-cli/tests"
    session.run("pytest", "-q", *(f"{app}/test_{n}.py" for n in ("resume", "atomic", "faults")))


@nox.session(default=False, requires=["build"])
def splats(session: nox.Session) -> None:
    """Read what `lite3r reconstruct` writes for splats with nerfstudio's own parsers.

    The wheel comes without its requirements, which hold CUDA, and with what the parsers import.
    gsplat's wheel has no parser; the one in its repository reads through pycolmap, as tests do.
    """
    install_all(session, *WORKING, "pycolmap>=4.2")
    pip(session, "viser==0.2.7", "nerfacc==0.5.2", "splines==0.3.0", "open3d-cpu")
    pip(session, "appdirs", "imageio", "matplotlib", "rawpy", "requests", "rich", "tensorboard")
    pip(session, "opencv-python-headless>=4.10")
    session.install("-q", "--no-deps", "nerfstudio==1.1.5")
    session.run("python", "-c", "from nerfstudio.data.dataparsers import nerfstudio_dataparser")
    session.run("pytest", "-q", "apps/lite3r-cli/tests/test_splats.py", *session.posargs)


@nox.session(default=False, requires=["build"])
def rehearsal(session: nox.Session) -> None:
    """The day on a GPU, with tiny shapes on a CPU: a row that fails ends it."""
    install_all(session, *WORKING, "triton")
    out = session.create_tmp()
    session.run("python", "tools/gpu_day.py", "--rehearse", "--out", f"{out}/day", *session.posargs)


@nox.session(default=False)
def docker(session: nox.Session) -> None:
    """Lint the Dockerfiles and execute the build steps of one in a clean environment."""
    session.run("python", "tools/docker_lint.py", "--run", *session.posargs)


@nox.session(default=False, requires=["build"])
@each_package
def coverage(session: nox.Session, name: str) -> None:
    """Count the branches that a package's own tests take; `covered/NAME.json` has the numbers."""
    module = import_name(name)
    install(session, closure(name), *for_tests(name), "coverage==7.17.5", XDIST)
    data = f"--data-file={Path(session.create_tmp()) / 'data'}"
    where = ("--doctest-modules", "--pyargs", module, str(tests_of(name)))
    words = ("-m", "pytest", "-q", *IN_PARALLEL, *where)
    session.run("coverage", "erase", data)
    session.run("coverage", "run", data, f"--source={module}", *words, *session.posargs)
    session.run("coverage", "combine", "-q", data)
    out = ROOT / "covered" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    session.run("coverage", "json", data, "-q", "-o", str(out))
    session.run("python", "tools/coverage_summary.py", name, "benchmarks/results/coverage.json")


@nox.session(default=False, requires=["build"], venv_backend="none")
@each_package
def whole(session: nox.Session, name: str) -> None:
    """The cases of a package's tests that a push has no time for."""
    test(session, name, "-m", "nightly", success_codes=(0, 5))  # 5: it has none


@nox.session(default=False, requires=["build"])
def mutation(session: nox.Session) -> None:
    """Change the core, one place at a time, and count the changes that tests notice."""
    install_all(session, *(r for r in for_tests(*PROJECTS) if "pycolmap" not in r))
    session.run("python", "tools/mutate.py", *session.posargs)


@nox.session(default=False)
def nightly(session: nox.Session) -> None:
    """All that CI has no time for, one after the other."""
    each = ("docs", "release", "audit", "docker", "rehearsal", "hostile", "faults", "splats")
    for name in (*each, "mutation"):
        session.notify(name)
    for version in TRITONS:
        session.notify(f"triton({version})")
    of_python = (f"{kind}-{python}" for kind in ("lowest", "newest") for python in PYTHONS)
    for kind in (*of_python, "whole", "coverage"):
        for name in PROJECTS:
            session.notify(f"{kind}({name})")
