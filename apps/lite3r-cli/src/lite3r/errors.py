"""Tell what a person can put right from what is a bug in this program."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake in the input: shown as one sentence, without a traceback, exit code 2."""


@contextmanager
def reported(*kinds: type[Exception]) -> Iterator[None]:
    """Turn complaints about inputs, raised inside the block, into a `UserError`.

    The packages raise `ValueError` for a wrong value and `OSError` for a file, and
    say what to do instead; `kinds` names other ones. The block should hold only calls that
    check inputs, so that a bug elsewhere keeps its traceback.
    """
    caught = kinds or (ValueError, OSError)
    try:
        yield
    except caught as error:
        raise UserError(sentence(error)) from error


def sentence(error: Exception) -> str:
    """The text of an error, readable without its type."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
