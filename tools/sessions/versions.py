"""Packages with other versions than those that every push takes."""

from pathlib import Path

import nox
from packaging.requirements import Requirement

from .installing import install
from .projects import (
    PROJECTS,
    closure,
    each_package,
    for_tests,
    import_name,
    siblings,
    tests_of,
    third_party,
    wheel,
)
from .pytorch import choose_torch, see_torch

PYTHONS = ["3.11", "3.12", "3.13"]
TRITONS = ["3.6.0", "3.7.1", "3.9.0"]
INTERPRETED = {"3.6.0": ["numpy<2.4"]}  # whose int() takes the arrays that its interpreter makes
QUICK = ("readme", "surface", "documents")  # tests that show that a package works; the first there


@nox.session(default=False, requires=["build"], python=PYTHONS)
@each_package
def lowest(session: nox.Session, name: str) -> None:
    """One wheel with the lowest versions that it declares: imports, examples, doctests.

    PyTorch is the lowest CPU build that can be had; `-- --cuda`: the one declared, in gigabytes.
    """
    pins = _lowest_pins(session, name)
    torch = choose_torch(session, min, next(pin for pin in pins if pin.startswith("torch==")))
    see_torch(session, torch)
    _alone(session, name, torch, *(pin for pin in pins if not pin.startswith("torch==")))


@nox.session(default=False, requires=["build"], python=PYTHONS)
@each_package
def newest(session: nox.Session, name: str) -> None:
    """One wheel with the newest versions that can be had: imports, examples, doctests.

    PyTorch is the newest CPU build that can be had; `-- --cuda`: the newest there is, in gigabytes.
    """
    torch = choose_torch(session, max, "torch>=2.10")
    see_torch(session, torch)
    _alone(session, name, torch, "--upgrade", "--upgrade-strategy", "eager")


@nox.session(default=False, requires=["build"])
@nox.parametrize("version", [nox.param(version, id=version) for version in TRITONS])
def triton(session: nox.Session, version: str) -> None:
    """The kernels with another Triton: interpreted against the references, and compiled."""
    names = ["sla-kernels", "fp8-qat"]
    install(session, names, *for_tests(*names))
    session.install("-q", "--no-deps", f"triton=={version}", *INTERPRETED.get(version, ()))
    sla, fp8 = (PROJECTS[name]["path"] for name in names)
    interpreted = ("test_triton.py", "summary/test_triton_rows.py", "search/test_triton_walk.py")
    for tests in (*interpreted, "test_launches.py"):
        session.run("pytest", "-q", str(sla / "tests" / tests))
    session.run("pytest", "-q", str(fp8 / "tests" / "fused"))
    few = ("--targets", "sm_90", "gfx942", "--widths", "64", "--dtypes", "bf16")
    session.run("python", str(sla / "benchmarks" / "compiled_code.py"), *few)


def _alone(session: nox.Session, name: str, torch: str, *how: str) -> None:
    """Install a wheel as a stranger would, but for PyTorch, and run its quick tests."""
    module, wheels = import_name(name), [wheel(n) for n in closure(name)]
    pins = [word for word in how if "==" in word]
    only = Path(session.create_tmp()) / "torch.txt"  # pip must not fetch another one
    only.write_text(f"{torch}\n")
    constrained = ("-q", "-c", str(only), *pins)
    session.install(*(word for word in how if word not in pins), *constrained, *wheels)
    session.install("-q", "--force-reinstall", "--no-deps", *wheels)
    session.run("python", "tools/check_alone.py", module, *map(import_name, siblings(name)))
    session.install(*constrained, *(r for r in for_tests(name) if Requirement(r).name != "triton"))
    session.run("python", "tools/versions.py", name)
    files = (tests_of(name) / f"test_{what}.py" for what in QUICK)
    quick = next(file for file in files if file.exists())
    doctests = ("--doctest-modules", "--doctest-ignore-import-errors")  # modules of an extra
    words = ("-q", *doctests, "--pyargs", module, str(quick))
    session.run("pytest", *words, *(word for word in session.posargs if word != "--cuda"))


def _lowest_pins(session: nox.Session, name: str) -> list[str]:
    """The lowest version of everything that a package and the siblings it needs declare."""
    declared = third_party(*closure(name))
    wanted = Path(session.create_tmp()) / "declared.txt"
    wanted.write_text("\n".join(sorted(declared)))
    session.install("-q", "uv")
    said = session.run(
        *("uv", "pip", "compile", "-q", "--resolution", "lowest-direct", "--no-header"),
        *("--no-annotate", "--python", "python", str(wanted)),
        silent=True,
    )
    names = {Requirement(line).name for line in declared}
    return [line for line in str(said).splitlines() if line.partition("==")[0] in names]
