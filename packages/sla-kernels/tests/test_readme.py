"""The README's examples run as written."""

import doctest
from pathlib import Path


def test_every_example_runs_as_written() -> None:
    readme = Path(__file__).parent.parent / "README.md"
    failures, attempts = doctest.testfile(str(readme), module_relative=False)
    assert failures == 0
    assert attempts >= 5
