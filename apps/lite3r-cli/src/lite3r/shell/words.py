"""How work speaks without knowing a terminal: callables for words and for progress."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

One = TypeVar("One")


@runtime_checkable
class Advance(Protocol):
    """Moves a progress bar: by one, or to a number of steps."""

    def __call__(self, *, to: int | None = None, note: str = "") -> None: ...


def _nothing(*args: object, **named: object) -> None:
    pass


@contextmanager
def _no_progress(what: str, total: int) -> Iterator[Advance]:
    yield _nothing


@dataclass(frozen=True, kw_only=True)
class Words:
    """What work is given to speak with; silent unless something else is given.

    - `say`: takes one line about what happens.
    - `progress`: takes what is done and in how many steps; its block gets an `Advance`.
    """

    say: Callable[[str], None] = _nothing
    progress: Callable[[str, int], AbstractContextManager[Advance]] = _no_progress

    def each(self, what: str, items: Iterable[One], total: int) -> Iterator[One]:
        """The items one after another, the bar one further after each."""
        with self.progress(what, total) as advance:
            for item in items:
                yield item
                advance()
