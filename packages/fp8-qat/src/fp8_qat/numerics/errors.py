"""The one sentence that an unknown choice gets."""

from collections.abc import Iterable


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Raise ValueError, listing the known values, unless `value` is one of them."""
    choices = list(known)
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"{name}={value!r}; it is not known: choose one of {listed}")
