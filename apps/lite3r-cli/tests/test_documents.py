"""Every example in the documents runs, and every message they quote is one that is given.

```console   commands are run; a line after `$ command` is in what it prints
```python    is run, block after block, in one namespace for each page
```bash      needs what a test has not (a network, a GPU, minutes): it must parse
```text      messages, `{}` for what varies: they stand in the source
"""

import ast
import contextlib
import doctest
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lite3r as module
from lite3r.main import USER_ERROR, parse
from lite3r.student.recipe_file import chosen
from recon_backbones import load_backbone
from recon_eval.data import SyntheticScenes

ROOT = Path(__file__).parents[3]
PAGES = (
    "README.md",
    *("docs/quickstart.md", "docs/splats.md", "docs/small-gpu.md", "docs/your-own-model.md"),
    *(
        "docs/tune.md",
        "docs/reproduce.md",
        "docs/your-own-fp8.md",
        "docs/troubleshooting.md",
        "apps/lite3r-cli/README.md",
    ),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
QUICK = {  # what makes a command take a second; what is said of it stays true
    "distill": "--steps 0 --many-views 0 --eval-scenes 1 --size 56 --views 2",
    "reconstruct": "--size 56",
    "bench": "--sizes 28 --repeats 1 --no-compile",
    "eval": "--scenes 1 --size 56 --views 2",
}


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for language, body in FENCE.findall(text) if language == kind]


def having(kind: str) -> list[str]:
    return [page for page in PAGES if blocks(page, kind)]


def commands(block: str) -> Iterator[tuple[list[str], list[str]]]:
    """The words of each `$ lite3r ...`, and the lines that it should print."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        line, *printed = part.rstrip("\n").split("\n")
        program, *words = shlex.split(line, comments=True)
        assert program == "lite3r"
        yield words, [p for p in printed if p]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four photos, a student in runs/da3-tiny, and scenes on disk."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 60)).save(f"photos/{number}.jpg")
    return tmp_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the bundled teacher, made once for all pages."""
    folder = tmp_path_factory.mktemp("made") / "da3-tiny"
    images = SyntheticScenes("train", count=1, views=2, height=56, width=56)[0].images[None]
    teacher = load_backbone("da3-tiny", weights="bundled")
    module.lighten(teacher, calibrate=images).save(folder)
    return folder


@pytest.fixture
def student(desk: Path, saved: Path) -> Path:
    return Path(shutil.copytree(saved, desk / "runs/da3-tiny"))


def test_the_pages_are_there() -> None:
    assert all((ROOT / page).is_file() for page in PAGES)


@pytest.mark.parametrize("page", having("console"))
def test_commands_do_what_the_page_says(lite3r: Any, desk: Path, saved: Path, page: str) -> None:
    words = [w for block in blocks(page, "console") for w in commands(block)]
    if not any(command[0] == "distill" for command, _ in words):
        shutil.copytree(saved, desk / "runs/da3-tiny")
    for command, printed in words:
        quick = (
            [] if any("size=" in line for line in printed) else QUICK.get(command[0], "").split()
        )
        action = command[:2] if command[0] == "bench" else command[:1]
        given = {word for word in command if word.startswith("--")}
        done = lite3r(*action, *command[len(action) :], *_without(quick, given & {"--keep"}))
        said = " ".join((done.out + done.err).replace("│", " ").split())
        for line in printed:
            assert " ".join(line.split()) in said
        refused = any(re.match(r"lite3r: |\w+=|'", line) for line in printed)
        assert done.code == (USER_ERROR if refused else 0), said


def _without(words: list[str], names: set[str]) -> list[str]:
    return [word for word in words if word not in names]


@pytest.mark.parametrize("page", having("bash"))
def test_commands_that_need_more_are_understood(page: str) -> None:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program in ("lite3r", "python", "docker", "torchrun")
        if program == "torchrun":
            program, words = "lite3r", words[words.index("lite3r") + 1 :]
        if program == "lite3r" and not words[0].startswith("--"):
            asked: Any = parse(words)
            if hasattr(asked, "recipe"):
                chosen(**vars(asked.recipe))


@pytest.mark.parametrize("page", having("python"))
def test_python_runs(student: Path, page: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if ">>>" in block:
            found = doctest.DocTestParser().get_doctest(block, names, page, page, 0)
            with contextlib.redirect_stdout(io.StringIO()) as told:
                assert doctest.DocTestRunner().run(found, clear_globs=False).failed == 0, told
        else:
            exec(compile(block, page, "exec"), names)


def messages() -> list[str]:
    """Every text in the sources, a NUL for each value that is put in."""
    sources = [*ROOT.glob("apps/*/src"), *ROOT.glob("packages/*/src")]
    found = []
    for file in (f for source in sources for f in source.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(_part(value) for value in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def _part(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) else "\0"


@pytest.mark.parametrize("page", having("text"))
def test_quoted_messages_are_given(page: str) -> None:
    known = messages()
    for line in (line for block in blocks(page, "text") for line in block.splitlines()):
        wanted = line.replace("{}", "\0")
        assert any(wanted in text for text in known), line


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)", text):
            if not target.startswith("http"):
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
