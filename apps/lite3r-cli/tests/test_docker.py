"""What can be known of the images without building them."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from lite3r.main import parse

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "ENTRYPOINT", "CMD"}


def instructions(file: Path) -> list[tuple[str, str]]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in pairs]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.stem for file in FILES] == ["cpu", "cuda"]
    assert all(file.with_name(f"{file.name}.dockerignore").is_file() for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_instruction_is_known_and_what_is_copied_exists(file: Path) -> None:
    stages = set()
    for word, rest in instructions(file):
        assert word in KNOWN
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            assert re.fullmatch(r"python:\d+\.\d+-slim-\w+", base)  # pinned to a minor version
            stages.add(stage)
        if word == "COPY" and rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in stages
        elif word == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_python_is_one_that_the_packages_support(file: Path) -> None:
    (version,) = {
        re.findall(r"python:3\.(\d+)", rest)[0] for w, rest in instructions(file) if w == "FROM"
    }
    for project in ROOT.glob("*/*/pyproject.toml"):
        wanted = tomllib.loads(project.read_text())["project"]["requires-python"]
        assert int(version) >= int(re.findall(r">=3\.(\d+)", wanted)[0])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_torch_comes_through_the_constraints_and_extras_exist(file: Path) -> None:
    text = " ".join(rest for word, rest in instructions(file) if word == "RUN")
    assert "-c constraints/cpu.txt torch" in text
    app = tomllib.loads((ROOT / "apps/lite3r-cli/pyproject.toml").read_text())["project"]
    extras = re.findall(r"lite3r-cli\[([\w,]+)\]", text)[0].split(",")
    assert set(extras) <= set(app["optional-dependencies"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_runs_as_root(file: Path) -> None:
    words = [word for word, _ in instructions(file)]
    last = max(i for i, word in enumerate(words) if word == "USER")
    assert last < words.index("ENTRYPOINT")
    assert instructions(file)[last][1] != "root"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_commands_in_the_head_are_understood(file: Path) -> None:
    runs = re.findall(r"^#     docker run .* lite3r:\w+ (.*)$", file.read_text(), re.M)
    assert runs
    for words in runs:
        command = parse(shlex.split(words))
        assert type(command).__name__.lower() == shlex.split(words)[0]
