"""One dialect each: of imports, docstrings, spelling and refusals."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file
    for src in ROOT.glob("*/*/src")
    if (src.parent / "pyproject.toml").is_file()
    for file in src.rglob("*.py")
)
PROSE = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "*/*/*.md", "examples/*.md", "docker/*.md")
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
BRITISH = re.compile(
    r"\b\w*(colour|behaviour|neighbour|licence|catalogue|artefact|(quant|optim|normal|initial"
    r"|real|organ|recogn|summar|visual|serial)is(e[drs]?\b|ing|ation))\w*"
    r"|\b(grey|centres?|centred|(milli|kilo)?metres?|learnt|distils?)\b",
    re.I,
)
GENERATED = re.compile(r"<!-- table.*?<!-- end -->", re.S)  # what was measured, as it was said then
REFUSALS = {"ValueError", "UserError", "InputError", "TypeError", "Damaged", "FileExistsError"}
GRAMMAR = re.compile(r".+; .+: .+", re.S)
FACTORIES = {
    f"torch.{name}"
    for name in (
        *("arange", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "ones", "rand"),
        *("randint", "randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "zeros"),
    )
}
PLACED = {path.name for path in ROOT.glob("packages/*")}  # another default device changes nothing
PASSED_ON = {  # what begins with a text that stands elsewhere
    "{}: {}",
    "{} or {}: {}",
    "{}: give it",
    "{} with {} = {}, as {} has: {}",
    "{} with {} = {}, as {} has: give it",
    "keep={}; {}",
}


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    return [
        (file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))) for file in SOURCES
    ]


def sentence(node: ast.expr) -> str | None:
    """The text of a literal, {} for what is put in; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
    return None


def refusals() -> Iterator[tuple[str, str]]:
    """Where a refusal is raised with a text of its own, and that text."""
    for file, tree in trees():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            kind = ast.unparse(node.exc.func).rpartition(".")[2]
            text = sentence(node.exc.args[0]) if node.exc.args else None
            if kind in REFUSALS and text is not None and text not in PASSED_ON:
                yield f"{file}:{node.lineno}", text


def test_refusals_say_what_is_wrong_then_the_rule_then_the_way_out() -> None:
    found = dict(refusals())
    assert found
    assert not {place: text for place, text in found.items() if not GRAMMAR.fullmatch(text)}


def test_imports_are_absolute() -> None:
    relative = [
        f"{file}:{node.lineno}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == "__future__")
    ]
    assert not relative


def unplaced(tree: ast.Module) -> Iterator[int]:
    """Lines that make a tensor where PyTorch does by default, but for what modules begin with."""
    owned = {
        node
        for made in ast.walk(tree)
        if isinstance(made, ast.FunctionDef) and made.name == "__init__"
        for node in ast.walk(made)
    }
    for node in ast.walk(tree):
        made = isinstance(node, ast.Call) and ast.unparse(node.func) in FACTORIES
        if made and not ({"device", None} & {k.arg for k in node.keywords} or node in owned):
            yield node.lineno


def test_tensors_lie_where_they_are_meant_whatever_device_is_the_default() -> None:
    seen = [(file, tree) for file, tree in trees() if file.parts[1] in PLACED]
    assert {file.parts[1] for file, _ in seen} == PLACED
    assert not [f"{file}:{line}" for file, tree in seen for line in unplaced(tree)]


def names_of(node: ast.AST) -> set[str]:
    """The parameters of a function, or the fields of a class."""
    if isinstance(node, ast.FunctionDef):
        given = node.args
        return {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    fields = node.body if isinstance(node, ast.ClassDef) else []
    return {
        f.target.id
        for f in fields
        if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
    }


def other_dialects(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Lines of a docstring that name a parameter or a section otherwise than the rest does."""
    names = names_of(node)
    for line in (ast.get_docstring(node) or "").splitlines()[1:]:
        words = re.match(r"\s*((?:`?\w+`?, )*`?\w+`?): ", line)
        if words and set(re.findall(r"\w+", words[1])) & names:
            yield line
        if re.match(r"\s*(Args|Arguments|Parameters|Returns|Raises|Yields):?\s*$|\s*:\w+ ", line):
            yield line


def test_docstrings_name_parameters_in_bullets() -> None:
    found = [
        f"{file}:{node.lineno}: {line.strip()}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for line in other_dialects(node)
    ]
    assert not found


def test_spelling_is_american() -> None:
    assert PROSE
    found = [
        f"{path.relative_to(ROOT)}: {word[0]}"
        for path in (*SOURCES, *PROSE)
        for word in BRITISH.finditer(GENERATED.sub("", path.read_text(encoding="utf-8")))
    ]
    assert not found


def test_functions_that_a_page_names_are_in_the_file_it_links() -> None:
    page = ROOT / "docs" / "how-it-works.md"
    named = re.findall(r"((?:`\w+`(?: and )?)+) in \[[\w./]+\]\(([^)]+\.py)\)", page.read_text())
    assert len(named) >= 10
    for names, link in named:
        tree = ast.parse((page.parent / link).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(re.findall(r"\w+", names.replace(" and ", " "))) <= there, link
