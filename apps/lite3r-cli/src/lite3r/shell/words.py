"""How work speaks without knowing a terminal: callables for words and for progress."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Advance(Protocol):
    """Moves a progress bar: by one, or to a number of steps."""

    def __call__(self, *, to: int | None = None, note: str = "") -> None: ...


def _say_nothing(text: str) -> None:
    pass


def _stand_still(*, to: int | None = None, note: str = "") -> None:
    pass


@contextmanager
def _no_progress(what: str, total: int) -> Iterator[Advance]:
    yield _stand_still


@dataclass(frozen=True, kw_only=True)
class Words:
    """What work is given to speak with; silent unless something else is given.

    - `say`: takes one line about what happens.
    - `progress`: takes what is done and in how many steps; its block gets an `Advance`.
    """

    say: Callable[[str], None] = _say_nothing
    progress: Callable[[str, int], AbstractContextManager[Advance]] = _no_progress
