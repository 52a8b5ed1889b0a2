"""The README's examples run, and the changelog knows the version."""

import ast
import doctest
from pathlib import Path

import distill

PACKAGE = Path(__file__).parents[1]


def test_the_examples_of_the_readme_run():
    outcome = doctest.testfile(str(PACKAGE / "README.md"), module_relative=False)
    assert outcome.attempted > 10 and outcome.failed == 0


def test_the_program_of_the_readme_is_one():
    """It needs launched processes to run."""
    text = (PACKAGE / "README.md").read_text()
    program = text.partition("```python\n# train.py\n")[2].partition("```")[0]
    calls = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call)]
    assert {"join_processes", "distill"} <= {ast.unparse(call.func) for call in calls}


def test_the_changelog_begins_with_this_version():
    lines = (PACKAGE / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ") and line != "## Unreleased"]
    assert versions[0] == f"## {distill.__version__}"


def test_the_readme_names_every_module_of_every_folder():
    block = (PACKAGE / "README.md").read_text().partition("```\ndistill/")[2].partition("```")[0]
    named = {}
    for line in f"distill/{block}".splitlines():
        folder, _, said = line.strip().partition("/")
        named[folder] = set(said.partition(":")[2].replace("·", " ").split())
    root = Path(distill.__file__).parent
    found = {
        folder.name: {p.stem for p in folder.glob("*.py") if p.stem != "__init__"}
        for folder in (root, *root.iterdir())
        if folder.is_dir() and folder.name != "__pycache__"
    }
    assert named == found
