"""The README's example runs as printed."""

import doctest
from pathlib import Path


def test_the_example_of_the_readme_prints_what_it_says() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    found = doctest.testfile(str(readme), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0
