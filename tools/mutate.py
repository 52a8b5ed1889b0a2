"""Change the core one place at a time, and count the changes that its tests notice.

    python tools/mutate.py [--only NAME ...] [--most N] [--minutes N] [--seed N] [--out FILE]

A change swaps a comparison or an operator, moves a number by one, turns a condition round, takes
a `min` for a `max`, or drops a negation. Each is tried in a process of its own: the change is made
in a copy of the package's sources that is first on the path, and the tests of that part are run
until the first fails. Time is that of the processor, so that a busy machine notices nothing. A
change that passes all of them is printed with its place: it is a question that no test asks.
Changes are drawn by a seed, so a rerun tries the same ones; where minutes run out, the first of
them. Parts that are not tried keep what the file says of them, with the commit they were tried at.
"""

import argparse
import ast
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]
LEAST, TIMES = 20, 4  # seconds of the processor for one trial, and how many times what none takes
LONGEST = 3600  # seconds by the clock: a change that makes tests wait for ever is noticed too
SHARED = ("torch", "numpy", "einops", "jaxtyping", "hypothesis", "safetensors.torch")
STOPPED = (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGALRM)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Sources whose changes the tests must notice; both below the package."""

    package: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]


STORED = ("best", "stopped", "buffers", "disk")
SUMMARY = ("laws", "execution", "every_key", "module", "refusals", "explain", "offsets")
PARTS = {
    "order": Part(
        package="sla-kernels",
        sources=("order/tokens.py", "order/plan.py", "order/axes.py", "order/median.py"),
        tests=("order/test_tokens.py",),
    ),
    "selection": Part(
        package="sla-kernels",
        sources=("select/blocks.py", "select/choice.py", "select/scores.py", "select/lists.py"),
        tests=("test_selection.py", "test_refusals.py"),
    ),
    "summaries": Part(
        package="sla-kernels",
        sources=("summary/rows.py", "summary/weights.py", "summary/reference.py", "search/walk.py"),
        tests=tuple(f"summary/test_{n}.py" for n in SUMMARY),
    ),
    "search": Part(
        package="sla-kernels",
        sources=("search/choice.py", "search/choose.py"),
        tests=(*(f"summary/test_{n}.py" for n in SUMMARY), "test_fuzz.py"),
    ),
    "references": Part(
        package="sla-kernels",
        sources=("sparse/reference.py", "linear/reference.py"),
        tests=("test_references.py", "test_attention.py"),
    ),
    "fp8 rounding": Part(
        package="fp8-qat",
        sources=("numerics/quantize.py", "numerics/scales.py"),
        tests=tuple(f"numerics/test_{n}.py" for n in ("formulas", "golden", "formats", "quantize")),
    ),
    "metrics": Part(
        package="recon-eval",
        sources=("depth/metrics.py", "pose/auc.py", "pose/pairs.py"),
        tests=("test_depth.py", "test_pose.py", "test_metrics.py"),
    ),
    "resume": Part(
        package="distill",
        sources=("resume/archive.py", "resume/checkpoint.py", "resume/state.py"),
        tests=(*(f"resume/test_{n}.py" for n in STORED), "loop"),
    ),
}
COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "amin": "amax", "amax": "amin", "argmin": "argmax", "any": "all",
    "argmax": "argmin", "all": "any", "floor": "ceil", "ceil": "floor", "sum": "mean",
}  # fmt: skip


def places(tree: ast.Module) -> Iterator[ast.AST]:
    """What can be changed: code of functions, annotations, decorators and messages aside."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body:
                yield from _inside(statement)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.FunctionDef, ast.Raise, ast.JoinedStr, ast.ClassDef)):
        return
    if changed(node, dry=True):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _inside(child)


def changed(node: ast.AST, *, dry: bool = False) -> str:
    """Change a node in place and say how; empty where there is no change for its kind."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            new = COMPARED[type(op)]()
            if not dry:
                node.ops = [new]
            return f"{type(op).__name__} to {type(new).__name__}"
        case ast.BinOp(op=op) if type(op) in COMPUTED:
            new_op = COMPUTED[type(op)]()
            if not dry:
                node.op = new_op
            return f"{type(op).__name__} to {type(new_op).__name__}"
        case ast.BoolOp(op=ast.And() | ast.Or() as op):
            turned = ast.Or() if isinstance(op, ast.And) else ast.And()
            if not dry:
                node.op = turned
            return f"{type(op).__name__} to {type(turned).__name__}"
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert() as op):
            if not dry:
                node.op = ast.UAdd()
                if not isinstance(op, ast.USub):
                    node.op, node.operand = (
                        ast.Not(),
                        ast.UnaryOp(op=ast.Not(), operand=node.operand),
                    )
            return f"{type(op).__name__} dropped"
        case ast.Constant(value=bool(value)):
            if not dry:
                node.value = not value
            return f"{value} to {not value}"
        case ast.Constant(value=int(value) | float(value)):
            if not dry:
                node.value = value + 1
            return f"{value} to {value + 1}"
        case ast.Attribute(attr=name) if name in NAMES:
            if not dry:
                node.attr = NAMES[name]
            return f".{name} to .{NAMES[name]}"
        case ast.Name(id=name) if name in NAMES:
            if not dry:
                node.id = NAMES[name]
            return f"{name} to {NAMES[name]}"
    return ""


def mutant(text: str, number: int) -> tuple[str, int, str]:
    """The source with its `number`th place changed, the line, and what was done."""
    tree = ast.parse(text)
    node = list(places(tree))[number]
    line, what = node.lineno, changed(node)
    return ast.unparse(ast.fix_missing_locations(tree)), line, what


def passes(part: Part, source: Path, text: str, seconds: int = resource.RLIM_INFINITY) -> bool:
    """Whether the tests of a part pass with one source replaced, in a fork of this process.

    A change that makes them take more than `seconds` of the processor is one that they notice.
    """
    before = source.read_text(encoding="utf-8")
    source.write_text(text, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _test(part, seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        source.write_text(before, encoding="utf-8")
    if code not in (0, 1, 2) and code not in STOPPED:
        sys.exit(f"{source.name}: pytest ended with {code}, which says nothing of its tests")
    return code == 0


def _test(part: Part, seconds: int) -> NoReturn:
    """Run the tests of a part; silent, and never back."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.alarm(LONGEST)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    tests = [str(ROOT / "packages" / part.package / "tests" / name) for name in part.tests]
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def tried(name: str, given: argparse.Namespace) -> dict[str, object]:
    """Try changes of one part; the share that was noticed, and those that were not.

    `given.inside` holds the sources that are changed, and is first on the path of this process.
    """
    part, folder, began = PARTS[name], next(given.inside.iterdir()), time.monotonic()
    found = [
        (folder / source, number)
        for source in part.sources
        for number in range(len(list(places(ast.parse((folder / source).read_text())))))
    ]
    drawn = random.Random(given.seed).sample(found, min(given.most, len(found)))
    first = drawn[0][0]
    if not passes(part, first, first.read_text(encoding="utf-8")):
        sys.exit(f"{name}: the tests fail without any change")
    seconds = max(LEAST, TIMES * round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime))
    alive, count = [], 0
    for source, number in drawn:
        count += 1
        text, line, what = mutant(source.read_text(encoding="utf-8"), number)
        if passes(part, source, text, seconds):
            alive.append(f"{source.relative_to(folder)}:{line}: {what}")
            print(f"{name}: not noticed: {alive[-1]}", flush=True)
        if time.monotonic() - began > 60 * given.minutes:
            break
    share = 1 - len(alive) / count
    told = f"{share:.0%} of {count} changes noticed, of {len(found)} there are"
    print(f"{name}: {told}", flush=True)
    return {"tried": count, "places": len(found), "noticed": share, "not noticed": alive}


def apart(name: str, given: argparse.Namespace) -> dict[str, object]:
    """Try a part in a process whose path begins with a copy of the package's sources."""
    with tempfile.TemporaryDirectory() as folder:
        copy, told = Path(folder, "src"), Path(folder, "told.json")
        sources = ROOT / "packages" / PARTS[name].package / "src"
        shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("__pycache__"))
        before = os.environ.get("PYTHONPATH", "")  # noqa: TID251  what is there stays behind it
        path = f"{copy}{os.pathsep}{before}"
        around = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: TID251
        words = [sys.executable, __file__, "--only", name, "--seed", str(given.seed)]
        words += ["--most", str(given.most), "--minutes", str(given.minutes)]
        words += ["--inside", str(copy), "--out", str(told)]
        if subprocess.run(words, cwd=ROOT, env=around).returncode:
            sys.exit(1)
        found: dict[str, object] = json.loads(told.read_text(encoding="utf-8"))
        return found | {"seed": given.seed, "commit": commit()}


def commit() -> str:
    """The commit whose sources are changed; with a plus where they are not those of a commit."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*"]
    told = subprocess.run([*words, "--dirty=+"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def main() -> None:
    """Try every part, or some, and write what was found."""
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    reader.add_argument("--most", type=int, default=40, help="changes of each part")
    reader.add_argument("--minutes", type=float, default=10, help="of each part")
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "mutation.json"
    )
    reader.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.inside:
        for name in SHARED:  # once, before the first fork
            importlib.import_module(name)
        given.out.write_text(json.dumps(tried(given.only[0], given)), encoding="utf-8")
        return
    before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    parts = before.get("parts", {})
    for name in given.only:
        parts[name] = apart(name, given)
        total = sum(p["tried"] for p in parts.values())
        noticed = sum(p["noticed"] * p["tried"] for p in parts.values()) / total
        report = {"what": "mutation", "tried": total, "noticed": round(noticed, 4), "parts": parts}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
