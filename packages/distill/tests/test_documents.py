"""The README's examples run, and the changelog knows the version."""

import doctest
from pathlib import Path

import distill

PACKAGE = Path(__file__).parents[1]


def test_the_examples_of_the_readme_run():
    outcome = doctest.testfile(str(PACKAGE / "README.md"), module_relative=False)
    assert outcome.attempted > 10 and outcome.failed == 0


def test_the_changelog_begins_with_this_version():
    lines = (PACKAGE / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ") and line != "## Unreleased"]
    assert versions[0] == f"## {distill.__version__}"
