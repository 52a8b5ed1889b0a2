"""The examples of the README run as they stand."""

import doctest
from pathlib import Path


def test_the_readme_is_true() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    result = doctest.testfile(str(readme), module_relative=False)
    assert result.attempted > 10 and result.failed == 0
