"""Make feed-forward 3-D reconstruction cheap to run, and show every number.

    import lite3r

    student = lite3r.load("runs/da3-tiny")
    prediction = student.reconstruct(["a.jpg", "b.jpg"])

Names that need PyTorch are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lite3r.student import recipes as recipes
    from lite3r.student.compose import lighten as lighten
    from lite3r.student.deploy import load as load
    from lite3r.student.program import load_program as load_program
    from lite3r.student.recipes import Recipe as Recipe
    from lite3r.student.student import Student as Student

    __version__: str

_HOMES = {
    "Recipe": "lite3r.student.recipes",
    "Student": "lite3r.student.student",
    "lighten": "lite3r.student.compose",
    "load": "lite3r.student.deploy",
    "load_program": "lite3r.student.program",
    "recipes": "lite3r.student.recipes",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("lite3r-cli")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_HOMES[name])
    return module if name == "recipes" else getattr(module, name)
