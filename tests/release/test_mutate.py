"""The tool that changes sources changes one place, each in its own way, and no message."""

import ast
import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("mutate_tool", ROOT / "tools" / "mutate.py")
assert SPEC is not None and SPEC.loader is not None
mutate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutate)

SOURCE = '''
LIMIT = 3


def smallest(values: list[int], most: int = 4) -> int:
    """A number 7."""
    if not values or len(values) > most:
        raise ValueError(f"{1 + 1}")
    return -min(values) + 2 * values[0]
'''


def test_each_change_is_of_one_place_and_no_two_are_alike() -> None:
    count = len(list(mutate.places(ast.parse(SOURCE))))
    changed = [mutate.mutant(SOURCE, number) for number in range(count)]
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for text, line, what in changed:
        differing = [a for a, b in zip(plain, text.splitlines(), strict=True) if a != b]
        assert len(differing) == 1 and what
        assert line in (7, 9)
    assert len({text for text, _, _ in changed}) == count


def test_comparisons_operators_numbers_and_names_are_changed_and_messages_are_not() -> None:
    count = len(list(mutate.places(ast.parse(SOURCE))))
    kinds = {mutate.mutant(SOURCE, number)[2] for number in range(count)}
    assert kinds == {
        *("Or to And", "Not dropped", "Gt to GtE", "Add to Sub", "Mult to Div"),
        *("USub dropped", "min to max", "2 to 3", "0 to 1"),
    }


def test_every_part_names_files_that_are_there() -> None:
    for part in mutate.PARTS.values():
        package = ROOT / "packages" / part.package
        (source,) = (package / "src").iterdir()
        assert all((source / name).is_file() for name in part.sources)
        assert all((package / "tests" / name).exists() for name in part.tests)
