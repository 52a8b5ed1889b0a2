"""The papers of the repository say what is true of it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text()) for path in ROOT.glob("*/*/pyproject.toml")
}
PAPERS = (
    "SECURITY.md",
    "CITATION.cff",
    "LICENSE",
    "CONTRIBUTING.md",
    "docs/model-cards/da3-tiny.md",
)


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 500


def test_the_citation_names_the_version_and_license_of_the_app() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    app = PROJECTS["lite3r-cli"]["project"]
    fields = dict(re.findall(r"^([\w-]+): (.+)$", citation, re.M))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == app["version"]
    assert fields["license"] == app["license"]
    assert {"message", "title", "type"} <= set(fields) and "\nauthors:\n" in citation


def test_every_file_that_the_security_page_leans_on_exists() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    files = re.findall(r"`([\w/-]+/test_\w+\.py)`", page)
    assert len(files) >= 4
    assert all((ROOT / name).is_file() for name in files)


def test_every_package_has_one_license() -> None:
    assert {toml["project"]["license"] for toml in PROJECTS.values()} == {"Apache-2.0"}
