"""The packages of this repository: what they are called, need, and are built into."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"  # wheels that are tested
CONSTRAINTS = ROOT / "constraints" / "cpu.txt"

PROJECTS: dict[str, dict[str, Any]] = {
    toml["project"]["name"]: toml | {"path": path.parent}
    for path in sorted(ROOT.glob("*/*/pyproject.toml"))
    for toml in [nox.project.load_toml(path)]
}
each_package = nox.parametrize("name", [nox.param(name, id=name) for name in PROJECTS])


def siblings(name: str) -> Iterator[str]:
    """The packages of this repository that `name` declares."""
    for requirement in PROJECTS[name]["project"].get("dependencies", ()):
        other = Requirement(requirement).name
        if other in PROJECTS:
            yield other


def closure(name: str) -> list[str]:
    """`name` and every sibling it needs, directly or not."""
    found = [name]
    for other in found:
        found += [s for s in siblings(other) if s not in found]
    return found


def third_party(*names: str) -> set[str]:
    """What packages require from outside this repository."""
    declared = {r for n in names for r in PROJECTS[n]["project"].get("dependencies", ())}
    return {line for line in declared if Requirement(line).name not in PROJECTS}


def for_tests(*names: str) -> list[str]:
    """What the tests of packages require."""
    groups = (nox.project.dependency_groups(PROJECTS[name], "test") for name in names)
    return sorted({line for group in groups for line in group})


def import_name(name: str) -> str:
    """What `name` is called in Python: the one folder under its `src`."""
    (found,) = (p.name for p in (PROJECTS[name]["path"] / "src").iterdir() if p.is_dir())
    return found


def tests_of(name: str) -> Path:
    return PROJECTS[name]["path"] / "tests"


def wheel(name: str) -> str:
    """The file that the session `build` made of a package."""
    (found,) = DIST.glob(f"{name.replace('-', '_')}-*.whl")
    return str(found)
