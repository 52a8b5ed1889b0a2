"""A recipe as a JSON file: the fields that differ from the default, and where they are from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lite3r.shell import atomic
from lite3r.student.recipes import Recipe, by_name
from recon_eval.formats import parse_json

FORMAT = "lite3r-recipe/1"
SUFFIX = ".json"


def chosen(*, recipe: str = "balanced", set: Sequence[str] = (), **fields: Any) -> Recipe:
    """The recipe of a name, or of a file whose name ends in .json, with some fields changed.

    - `set`: changes as NAME=VALUE; `fields`: others, None where nothing changes.

    Raises ValueError for an unknown name, and for a recipe that cannot run.
    """
    changes: dict[str, str] = {}
    for change in set:
        name, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"set={change}; it must be NAME=VALUE: write {change}=VALUE")
        changes[name] = value
    for name, value in fields.items():
        if value is not None:
            words = value if isinstance(value, tuple) else (value,)
            changes[name] = ",".join(map(str, words))
    named = read(Path(recipe)) if recipe.endswith(SUFFIX) else by_name(recipe)
    return named.changed(changes)


def read(path: Path) -> Recipe:
    """Read what `write` wrote. Raises ValueError for a file that holds no recipe that can run."""
    if not path.is_file():
        raise ValueError(f"recipe={path}; it must be a name or a file: there is no such file")
    document = parse_json(path.read_bytes(), path)
    fields = document.get("recipe") if isinstance(document, dict) else None
    if not isinstance(fields, dict) or document.get("format") != FORMAT:
        raise ValueError(f"recipe={path}; it holds no recipe: make it with lite3r tune")
    try:
        return Recipe.from_dict(Recipe().to_dict() | fields)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"recipe={path}; it must be a recipe of lite3r tune: {error}") from error


def write(path: Path, fields: Mapping[str, Any], **more: Any) -> None:
    """Write the fields that differ from the default; `more` is for people."""
    atomic.write_json(path, {"format": FORMAT, "recipe": dict(fields), **more})
