"""Lay the documents out for the site: `nox -s docs`.

    python tools/site.py site/pages

Pages keep their places in the repository, so that links between them hold here and there. What
they link to is laid beside them; a link to a folder becomes one to its README. The reference has a
page for each package: what its table of contents names, from the docstrings.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()([^)\s#]+)([^)]*\))")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def main(out: str) -> None:
    """Write every page, what it shows and links to, and the reference."""
    folder = Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages():
        text = page.read_text(encoding="utf-8")
        _write(folder / page.relative_to(ROOT), linked(text, page, folder))
    for source in sorted(ROOT.glob("*/*/src/*/__init__.py")):
        _write(folder / "api" / f"{source.parent.name}.md", reference(source))


def pages() -> list[Path]:
    """Every Markdown file that git knows."""
    words = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run([*words, "*.md"], check=True, capture_output=True, text=True).stdout
    return [ROOT / line for line in found.splitlines() if (ROOT / line).is_file()]


def links(text: str) -> Iterator[str]:
    """Where a page's links lead, other hosts and its own headings aside."""
    for _, target, _ in LINK.findall(FENCE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def linked(text: str, page: Path, folder: Path) -> str:
    """The text with links to folders mended; files that it links to are copied."""

    def mended(found: re.Match[str]) -> str:
        target = found[2]
        if re.match(r"[a-z]+:", target):
            return found[0]
        place = page.parent / target
        if place.is_dir():
            target = f"{target.rstrip('/')}/README.md"
        elif place.is_file() and place.suffix != ".md":
            copy = folder / Path(os.path.normpath(place)).relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, copy)
        return f"{found[1]}{target}{found[3]}"

    return LINK.sub(mended, text)


def reference(source: Path) -> str:
    """A page of directives: the package's docstring, then each name of its table of contents."""
    module, tree = source.parent.name, ast.parse(source.read_text(encoding="utf-8"))
    lines = [f"# {module}", "", ast.get_docstring(tree) or "", ""]
    for home, name in names(tree):
        path = f"{home}.{name}"
        inside = source.parents[1].joinpath(*path.split("."))
        if inside.is_dir():  # a room: its own table of contents
            init = inside / "__init__.py"
            room = ast.parse(init.read_text(encoding="utf-8"))
            lines += [f"## {path}", "", ast.get_docstring(room) or "", ""]
            parts = [(h, n) for h, n in names(room) if h.startswith(f"{module}.")]
            lines += [_directive(f"{h}.{n}", level=3) for h, n in parts]
        else:
            lines.append(_directive(path, level=2))
    return "\n".join(lines) + "\n"


def names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a table of contents shows as it is called there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "importlib.metadata":
            yield from ((str(node.module), a.name) for a in node.names if a.asname == a.name)


def _directive(path: str, *, level: int) -> str:
    return f"::: {path}\n    options:\n      heading_level: {level}\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
