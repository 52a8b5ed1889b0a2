"""Tell what a person can put right from what is a bug in this program."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk
PACKAGES = ("lite3r", "sla_kernels", "fp8_qat", "distill", "recon_backbones", "recon_eval")


class UserError(Exception):
    """A mistake in the input: shown as one sentence, without a traceback, exit code 2."""


@contextmanager
def reported(*kinds: type[Exception], of: tuple[str, ...] = PACKAGES) -> Iterator[None]:
    """Turn complaints about inputs, raised inside the block, into a `UserError`.

    The packages raise `ValueError` for a wrong value and `OSError` for a file, and say what to do
    instead; `kinds` names other ones. A `ValueError` that another library raised, and nobody here
    put into words, is a bug and keeps its traceback. The block should hold only calls that check
    inputs, so that a bug elsewhere keeps its own; where work and checks cannot be told apart, `of`
    names the modules that check, whose `ValueError` alone is a complaint.
    """
    caught = kinds or (ValueError, OSError)
    try:
        yield
    except caught as error:
        if isinstance(error, ValueError) and not _raised_in(error, of):
            raise
        raise UserError(sentence(error)) from error


def check_least(options: object, least: int, *names: str) -> None:
    """Raise ValueError for the first of these fields that is smaller."""
    for name in names:
        if (value := getattr(options, name)) < least:
            raise ValueError(f"{name}={value}; it must be at least {least}: leave it out if unsure")


def sentence(error: Exception) -> str:
    """The text of an error, readable without its type."""
    if isinstance(error, OSError) and error.strerror:
        told = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
        return f"{told}: make room, or write elsewhere" if error.errno in FULL else told
    return ": ".join([*getattr(error, "__notes__", ()), str(error) or type(error).__name__])


def _raised_in(error: Exception, modules: tuple[str, ...]) -> bool:
    """Whether one of these modules or packages raised it."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    raised_in = str(frames[-1].f_globals.get("__name__")) if frames else ""
    return any(raised_in == module or raised_in.startswith(f"{module}.") for module in modules)
