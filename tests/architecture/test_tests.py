"""No test can pass by doing nothing: each asserts, or calls what asserts."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TELLING = {"raises", "warns", "fail", "opcheck", "gradcheck"}


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every function of every test file, helpers included."""
    for folder in (ROOT / "tests", *ROOT.glob("*/*/tests")):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    yield path, node


def called(function: ast.FunctionDef) -> set[str]:
    """The names of what a function calls."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}


def tells(function: ast.FunctionDef) -> bool:
    """Whether a function itself notices a wrong program."""
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
        return True
    return any(name in TELLING or name.startswith("assert") for name in called(function))


def test_no_test_is_without_an_assertion() -> None:
    every = list(functions())
    telling = {function.name for _, function in every if tells(function)}
    while more := {f.name for _, f in every if called(f) & telling} - telling:
        telling |= more
    tests = [(path, f) for path, f in every if f.name.startswith("test_")]
    assert len(tests) > 1000
    silent = [f"{path.name}:{f.lineno} {f.name}" for path, f in tests if f.name not in telling]
    assert not silent, silent


def test_a_test_that_asserts_nothing_is_found() -> None:
    (silent,) = ast.parse("def test_a():\n    run()\n    x == 1\n").body
    (loud,) = ast.parse("def test_a():\n    with pytest.raises(ValueError): run()\n").body
    assert isinstance(silent, ast.FunctionDef) and not tells(silent)
    assert isinstance(loud, ast.FunctionDef) and tells(loud)
