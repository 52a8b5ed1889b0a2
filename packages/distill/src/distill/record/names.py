"""Find modules and parameters by name; where there is none, offer the closest."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

Role = Literal["teacher", "student"]


def find_module(model: nn.Module, name: str, role: str) -> nn.Module:
    """Return the module called `name`; `role` says in errors whose module it is.

    Raises ValueError if there is no such module; the message offers the closest names.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if name in modules:
        return modules[name]
    raise ValueError(
        f"module={name!r}; the {role} ({type(model).__name__}) has no such module: closest names "
        f"are {closest(name, modules)}"
    )


def closest(name: str, known: Iterable[str]) -> str:
    """Return up to three of `known` that resemble `name`, for an error message."""
    choices = [other for other in known if other]
    found = difflib.get_close_matches(name, choices, n=3, cutoff=0.0)
    return ", ".join(repr(other) for other in found) or "none, the list is empty"


def matching(names: Iterable[str], patterns: Sequence[str], kind: str) -> set[str]:
    """Return the names that match any pattern.

    Raises ValueError if a pattern matches nothing, or there is no pattern.
    """
    names = list(names)
    if not patterns:
        raise ValueError(f"patterns=[]; choosing a {kind} needs one at least: give a pattern")
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(
                f"pattern={pattern!r}; it matches no {kind}: closest names are "
                f"{closest(pattern, names)}"
            )
        chosen |= found
    return chosen
