"""Build every package twice, hold the two against each other and against what was promised.

    python tools/release.py build release      wheels and source archives, and their digests
    python tools/release.py check release      contents, licenses, metadata
    python tools/release.py licenses release/sbom.cdx.json
    python tools/release.py tags            what to tag, package by package

Both builds of a package, the second from a copy in another folder, must be equal bit for bit. They
carry the time of the last commit: with SOURCE_DATE_EPOCH set to it, anybody gets the same bytes.
"""

import argparse
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = {
    toml["project"]["name"]: toml | {"path": path.parent}
    for path in sorted(ROOT.glob("*/*/pyproject.toml"))
    for toml in [tomllib.loads(path.read_text(encoding="utf-8"))]
}
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "dist", "*.egg-info")
STRONG_COPYLEFT = re.compile(r"(?<!L)GPL|GNU General Public", re.I)
ASIDE = {"pip", "setuptools", "wheel"}  # tools of the environment, no part of the product


def build(out: Path) -> None:
    """Fill `out`; raise SystemExit where two builds of a file differ."""
    shutil.rmtree(out, ignore_errors=True)
    for name, project in PROJECTS.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "elsewhere" / name
            shutil.copytree(project["path"], copy, ignore=LEFT_OUT)
            shutil.copyfile(ROOT / ".gitignore", copy.parent / ".gitignore")  # hatchling reads it
            made = (_build(project["path"], out), _build(copy, Path(folder) / "again"))
        if made[0] != made[1]:
            sys.exit(f"{name}: two builds differ: {sorted(made[0].items() ^ made[1].items())}")
    lines = [f"{_digest(path)}  {path.name}\n" for path in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


def _build(project: Path, out: Path) -> dict[str, str]:
    """Build a project; names and digests of what came out that belongs to it."""
    before = set(out.glob("*"))
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(out.absolute())]
    given = {"SOURCE_DATE_EPOCH": epoch()}
    subprocess.run(
        words, cwd=project, env={**environment(), **given}, check=True, stdout=subprocess.DEVNULL
    )
    return {path.name: _digest(path) for path in set(out.glob("*")) - before}


def environment() -> dict[str, str]:
    """This process's environment, less what would be another time."""
    return {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}  # noqa: TID251


def epoch() -> str:
    """The time of the last commit, in seconds."""
    words = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def check(out: Path) -> None:
    """Raise SystemExit with all that a wheel or source archive lacks or has too much."""
    found = [
        line for name in PROJECTS for line in (*wheel_faults(name, out), *sdist_faults(name, out))
    ]
    if found:
        sys.exit("\n".join(found))
    print(f"{len(PROJECTS)} wheels and source archives hold what they must, and no more")


def wheel_faults(name: str, out: Path) -> list[str]:
    """What is wrong with the wheel of a package."""
    project, stem = PROJECTS[name]["project"], name.replace("-", "_")
    path = out / f"{stem}-{project['version']}-py3-none-any.whl"
    info = f"{stem}-{project['version']}.dist-info"
    with zipfile.ZipFile(path) as wheel:
        held = set(wheel.namelist())
        metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
        license = (
            wheel.read(f"{info}/licenses/LICENSE") if f"{info}/licenses/LICENSE" in held else b""
        )
    source = PROJECTS[name]["path"] / "src"
    wanted = {
        f.removeprefix("src/") for f in tracked(PROJECTS[name]["path"]) if f.startswith("src/")
    }
    inside = {f for f in held if not f.startswith(info)}
    faults = [f"{path.name}: lacks {f}" for f in sorted(wanted - inside)]
    faults += [f"{path.name}: holds {f}" for f in sorted(inside - wanted)]
    if license != (ROOT / "LICENSE").read_bytes():
        faults.append(f"{path.name}: its license is not that of the repository")
    if not list(source.glob("*/py.typed")):
        faults.append(f"{path.name}: py.typed is missing")
    for field, value in (
        ("Name", name),
        ("Version", project["version"]),
        ("License-Expression", "Apache-2.0"),
        ("Requires-Python", project["requires-python"]),
        ("Summary", project["description"]),
    ):
        if metadata[field] != value:
            faults.append(f"{path.name}: {field} is {metadata[field]!r}, not {value!r}")
    return faults


def sdist_faults(name: str, out: Path) -> list[str]:
    """What is wrong with the source archive of a package."""
    stem = f"{name.replace('-', '_')}-{PROJECTS[name]['project']['version']}"
    with tarfile.open(out / f"{stem}.tar.gz") as archive:
        members = archive.getmembers()
    held = {m.name.removeprefix(f"{stem}/") for m in members if m.isfile()}
    wanted = set(tracked(PROJECTS[name]["path"]))
    faults = [f"{stem}.tar.gz: lacks {f}" for f in sorted(wanted - held)]
    faults += [
        f"{stem}.tar.gz: holds {f}" for f in sorted(held - wanted - {"PKG-INFO", ".gitignore"})
    ]
    faults += [f"{stem}.tar.gz: {m.name} is a link" for m in members if m.issym() or m.islnk()]
    return faults


def tracked(folder: Path) -> list[str]:
    """Files below a folder that git knows or would add."""
    words = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if (folder / line).is_file()]


def licenses(path: Path) -> None:
    """Print the licenses of a bill of materials; raise SystemExit for one that binds our users."""
    components = json.loads(path.read_text(encoding="utf-8"))["components"]
    bound = []
    for part in sorted(components, key=lambda c: c["name"]):
        if part["name"] in {*ASIDE, *PROJECTS}:
            continue
        said = [_license(entry) for entry in part.get("licenses", ())]
        print(f"{part['name']} {part['version']}: {', '.join(sorted(set(said))) or 'says none'}")
        free = [s for s in said if not STRONG_COPYLEFT.search(s)]
        if said and not free:
            bound.append(part["name"])
    if bound:
        sys.exit(f"under the GPL: {', '.join(bound)}")


def _license(entry: dict[str, object]) -> str:
    inner = entry.get("license")
    if isinstance(inner, dict):
        return str(inner.get("id") or inner.get("name"))
    return str(entry.get("expression"))


def tags() -> None:
    """Print the tag of each package, and the command that makes it."""
    for name, project in PROJECTS.items():
        version = project["project"]["version"]
        print(f"git tag -a {name}-v{version} -m '{name} {version}'")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Do what the command line says."""
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("action", choices=("build", "check", "licenses", "tags"))
    reader.add_argument("path", type=Path, nargs="?", default=ROOT / "release")
    given = reader.parse_args()
    if given.action == "tags":
        tags()
    else:
        {"build": build, "check": check, "licenses": licenses}[given.action](given.path)


if __name__ == "__main__":
    main()
