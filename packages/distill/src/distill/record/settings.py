"""Settings, checked for what they are before anything is asked of their size."""

import math
from collections.abc import Iterable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any


def check_number(name: str, value: object, *, whole: bool = False, none: bool = False) -> None:
    """Raise TypeError for what is no number, or no whole one, ValueError for one without an end.

    - `none`: whether None is taken as well.
    """
    if none and value is None:
        return
    rule = ("a whole number" if whole else "a number") + (", or None" if none else "")
    if not isinstance(value, Integral if whole else Real):
        raise TypeError(f"{name}={value!r}; it must be {rule}: give one")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}; it must be {rule}, and finite: give one")


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Raise ValueError for what is none of `known`, which the message lists."""
    choices = list(known)
    if value not in choices:
        raise ValueError(
            f"{name}={value!r}; it must be known: choose one of {', '.join(map(repr, choices))}"
        )


def make_plain(settings: Any) -> None:
    """Let a frozen dataclass hold numbers of NumPy as those of Python, as a log holds them."""
    for setting in fields(settings):
        object.__setattr__(settings, setting.name, plain(getattr(settings, setting.name)))


def plain(value: object) -> object:
    """Return a number, or a tuple of some, as those of Python; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if not isinstance(value, Real) or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
