"""Every link of every page leads somewhere, and every program that a page names is there."""

import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^#+ (.+)$", re.M)


@functools.cache
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = {str(page.relative_to(ROOT)): page for page in site().pages()}


def anchors(page: Path) -> set[str]:
    text = site().FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", h).lower() for h in HEADING.findall(text)]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip()) for heading in plain}


def nox_sessions() -> set[str]:
    files = (ROOT / "tools" / "sessions").glob("*.py")
    decorated = re.compile(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)\(", re.M)
    return {name for file in files for name in decorated.findall(file.read_text())}


def test_pages_are_found() -> None:
    assert {"README.md", "docs/quickstart.md", "packages/distill/README.md"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    text = site().FENCE.sub("", page.read_text(encoding="utf-8"))
    for _, target, rest in site().LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        place = page.parent / target
        assert place.exists(), target
        assert not place.is_dir() or (place / "README.md").is_file(), target
        if rest.startswith("#"):
            assert rest[1:-1] in anchors(place), f"{target}{rest}"
    for inside in re.findall(r"\]\(#([^)]+)\)", text):
        assert inside in anchors(page), inside


@pytest.mark.parametrize("name", PAGES)
def test_programs_and_sessions_exist(name: str) -> None:
    text = PAGES[name].read_text(encoding="utf-8")
    sessions = nox_sessions()
    for script in re.findall(r"python ((?:tools|packages|apps|benchmarks)/[\w/-]+\.py)", text):
        assert any((base / script).is_file() for base in (ROOT, PAGES[name].parent)), script
    for session in re.findall(r"nox -s \"?([a-z]+)", text):
        assert session in sessions, session


def test_every_page_of_the_site_is_a_page_and_every_package_has_a_reference() -> None:
    named = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert set(named) - {n for n in named if n.startswith("api/")} <= set(PAGES)
    assert {page for page in PAGES if re.fullmatch(r"docs/[\w-]+\.md", page)} <= set(named)
    modules = {source.parent.name for source in ROOT.glob("*/*/src/*/__init__.py")}
    assert {f"api/{module}.md" for module in modules} == {n for n in named if n.startswith("api/")}


def test_a_reference_names_what_the_package_offers() -> None:
    page = site().reference(ROOT / "packages/recon-eval/src/recon_eval/__init__.py")
    assert "::: recon_eval.report.report.Report" in page
    assert "::: recon_eval.formats.ply.read_ply" in page
    lazy = site().reference(ROOT / "apps/lite3r-cli/src/lite3r/__init__.py")
    assert "::: lite3r.student.compose.lighten" in lazy
