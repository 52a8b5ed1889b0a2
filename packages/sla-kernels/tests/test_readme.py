"""The README's example runs."""

import doctest
from pathlib import Path


def test_example() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    found = doctest.testfile(str(readme), module_relative=False)
    assert found.attempted == 5 and not found.failed
