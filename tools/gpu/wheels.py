"""Take packages to a machine without network: wheels made here, unpacked there."""

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pack(folder: Path, *, python: str, there: Iterable[str]) -> None:
    """Put into a folder the wheels of this repository and of what they need, less what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    own = sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))
    pip("wheel", "-q", "--no-deps", "-w", str(folder), *map(str, own))
    kept = {name.lower() for name in there}
    wanted = sorted(r for r in third_party(own) if name_of(r) not in kept)
    where = [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip(
        "download", "-q", "--only-binary=:all:", "--implementation", "cp",
        "--python-version", python, *where, "-d", str(folder), *wanted,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    print(f"{folder}: {size / 1e6:.1f} MB")


def unpack(folder: Path) -> Path | None:
    """Install the wheels of a folder beside it, once; None where there are none."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        return None
    site = folder / "site"
    stamp, names = site / "stamp", "\n".join(f"{w.name} {w.stat().st_size}" for w in wheels)
    if not stamp.is_file() or stamp.read_text() != names:
        target = ["--upgrade", "--target", str(site)]
        pip("install", "-q", "--no-index", "--no-deps", "--no-compile", *target, *map(str, wheels))
        stamp.write_text(names)
    return site


def third_party(projects: Iterable[Path]) -> set[str]:
    """What the packages require from outside this repository, without extras."""
    toml = [tomllib.loads((path / "pyproject.toml").read_text())["project"] for path in projects]
    own = {project["name"] for project in toml}
    return {r for project in toml for r in project["dependencies"] if name_of(r) not in own}


def name_of(requirement: str) -> str:
    """The distribution that a requirement names."""
    end = next((i for i, c in enumerate(requirement) if c in "<>=!~[; "), len(requirement))
    return requirement[:end].lower()


def pip(*words: str) -> None:
    """Run pip of this Python."""
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
