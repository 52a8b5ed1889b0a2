"""How long work tells what it does: sentences, and steps that are done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Advance = Callable[[], object]


def silent(sentence: str) -> None:
    """Say nothing."""


@contextmanager
def unseen(what: str, steps: int) -> Iterator[Advance]:
    """Show no progress."""
    yield lambda: None


@dataclass(frozen=True, kw_only=True)
class Telling:
    """Where words and progress go; nowhere unless given.

    - `say`: takes one sentence about what was decided.
    - `progress`: takes what is done and the number of steps; its block calls what it is given once
      for each step.
    """

    say: Callable[[str], object] = silent
    progress: Callable[[str, int], AbstractContextManager[Advance]] = unseen


SILENT = Telling()
