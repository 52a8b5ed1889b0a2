"""Hold the Dockerfiles against good practice, and run their build steps in a clean environment.

    python tools/docker_lint.py            hadolint's most useful rules, by its numbers
    python tools/docker_lint.py --run      every build step of cpu.Dockerfile in order, in a folder

Where no builder is at hand, `--run` stands in for one: a stage is a folder, WORKDIR and COPY are
kept to it, RUN is run with its paths moved below it. Steps of the system (apt-get, useradd) and
other package indexes are left out and named. It ends by the entry point, which must answer.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SYSTEM = ("apt-get", "useradd", "rm -rf /var/lib")
Instruction = tuple[str, str]


def instructions(file: Path) -> list[Instruction]:
    """Every instruction and what follows it, lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in pairs]


def faults(steps: list[Instruction]) -> Iterator[str]:
    """What breaks a rule; the numbers are hadolint's."""
    words = [word for word, _ in steps]
    for word, rest in steps:
        if word == "FROM" and not re.search(r":(?!latest\b)[\w.-]+", rest):
            yield f"DL3006 or DL3007: {rest}: pin the version of the image"
        if word == "ADD":
            yield f"DL3020: {rest}: use COPY"
        if word == "MAINTAINER":
            yield "DL4000: use a label"
        if word == "WORKDIR" and not rest.startswith("/"):
            yield f"DL3000: {rest}: name a folder from the root"
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            yield f"DL3025: {rest}: write it as a list"
        if word == "RUN":
            yield from _run_faults(rest)
        if word == "ENV" and re.search(r"(?i)(password|secret|token)=\S", rest):
            yield f"{rest.split('=')[0]}: a secret stays in the image"
    users = [rest for word, rest in steps if word == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        yield "DL3002: the last user is root"
    for word in ("CMD", "ENTRYPOINT"):
        if words.count(word) > 1:
            yield f"DL4003 or DL4004: {word} stands more than once"
    stages = {rest.split()[-1] for word, rest in steps if word == "FROM" and " AS " in rest}
    for stage in re.findall(r"--from=(\S+)", " ".join(rest for _, rest in steps)):
        if stage not in stages:
            yield f"DL3022: --from={stage} is no stage"


def _run_faults(rest: str) -> Iterator[str]:
    rules = {
        r"\bsudo\b": "DL3004: no sudo",
        r"\bapt-get install(?!.*--no-install-recommends)": "DL3015: --no-install-recommends",
        r"\bapt-get install(?!.*(-y|--yes))": "DL3014: -y",
        r"\bapt-get install(?!.*rm -rf /var/lib/apt/lists)": "DL3009: remove the lists",
        r"\bapt (install|update)": "DL3027: apt-get instead of apt",
        r"\bpip install(?!.*--no-cache-dir)": "DL3042: --no-cache-dir",
        r"\b(curl|wget)\b.*\|\s*(ba)?sh": "DL4006: no script from the network",
        r"(^|&& )cd /": "DL3003: WORKDIR instead of cd",
    }
    for pattern, why in rules.items():
        parts = rest.split("&&") if "pip install" in pattern else [rest]
        for part in parts:
            if re.search(pattern, part):
                yield f"{why}: {part.strip()[:60]}"


def rehearse(file: Path) -> None:
    """Execute the build steps in order; raise SystemExit where one fails."""
    with tempfile.TemporaryDirectory(prefix="image-") as root:
        stages: dict[str, Path] = {}
        stage, where = Path(root), Path("/")
        for word, rest in instructions(file):
            if word == "FROM":
                stage = Path(root, rest.split()[-1] if " AS " in rest else "last")
                stage.mkdir()
                stages[stage.name], where = stage, Path("/")
            elif word == "WORKDIR":
                where = where / rest
                below(stage, where).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                copy(rest, stage, where, stages)
            elif word == "RUN":
                run(rest, stage, where)
            elif word == "ENTRYPOINT":
                answers(rest, stages, stage)


def below(stage: Path, path: Path) -> Path:
    """An absolute path of the image, in the folder that stands for it."""
    return stage / path.relative_to("/")


def copy(rest: str, stage: Path, where: Path, stages: dict[str, Path]) -> None:
    """COPY from the repository, or from another stage."""
    words = rest.split()
    origin = None
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")]
    *sources, target = words
    for source in sources:
        found = below(origin, Path(source)) if origin else ROOT / source
        out = below(stage, where / target)
        out = out / found.name if target.endswith("/") else out
        out.parent.mkdir(parents=True, exist_ok=True)
        if origin and found.is_dir():
            out.symlink_to(found)  # an environment knows where it lies
        elif found.is_dir():
            shutil.copytree(found, out, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copyfile(found, out)


def run(rest: str, stage: Path, where: Path) -> None:
    """RUN, its absolute paths below the stage; steps of the system are named and left out."""
    for step in (part.strip() for part in rest.split("&&")):
        if step.startswith(SYSTEM):
            print(f"left out: {step}")
            continue
        local = re.sub(r"--index-url \S+ ?", "", step)
        local = re.sub(r"(?<![\w.])/opt/", f"{stage}/opt/", local)
        local = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", local)
        print(f"$ {step}", flush=True)
        done = subprocess.run(["sh", "-ec", local], cwd=below(stage, where))
        if done.returncode:
            sys.exit(f"{step}: exit code {done.returncode}")


def answers(rest: str, stages: dict[str, Path], stage: Path) -> None:
    """The entry point answers --help and info, from the environment that was copied."""
    import json

    program = below(stage, Path(json.loads(rest)[0])).resolve()
    for words in (["--help"], ["info"]):
        said = subprocess.run([str(program), *words], capture_output=True, text=True, cwd=stage)
        print(f"$ lite3r {' '.join(words)}: {said.returncode}, {len(said.stdout)} characters")
        if said.returncode or not said.stdout:
            sys.exit(said.stderr or "it says nothing")


def main() -> None:
    """Lint, and rehearse if asked to."""
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("--run", action="store_true", help="execute the steps of cpu.Dockerfile")
    given = reader.parse_args()
    found = [f"{file.name}: {fault}" for file in FILES for fault in faults(instructions(file))]
    if found:
        sys.exit("\n".join(found))
    print(f"{len(FILES)} Dockerfiles keep the rules")
    if given.run:
        rehearse(ROOT / "docker" / "cpu.Dockerfile")


if __name__ == "__main__":
    main()
