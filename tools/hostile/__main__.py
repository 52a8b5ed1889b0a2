"""Read every hostile file in a process of its own, and hold what happens against the rules.

    cd tools && python -m hostile [--every N] [--only TEXT]

For each file: no crash, no hang (10 s), at most 400 MB more of memory, nothing written, and where
it is refused one sentence that names the file. Ends with 1 where a rule is broken.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

from hostile.cases import Case, cases

SECONDS, MEGABYTES, ADDRESSES = 10.0, 400, 6 << 30
REFUSALS = (ValueError, OSError)
LONGEST = 1500  # characters of a sentence
READ, REFUSED, BROKEN = 0, 10, 11


def main() -> None:
    """Run the cases, print what is wrong, and a last line of counts."""
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("--every", type=int, default=1, help="take one case of so many")
    reader.add_argument("--only", default="", help="take cases whose name holds this")
    given = reader.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [case for case in cases() if given.only in case.name][:: given.every]
    counts: Counter[str] = Counter()
    for case in chosen:
        outcome, fault = tried(case)
        counts[outcome] += 1
        if fault:
            counts["broken"] += 1
            print(f"{case.name}: {fault}", flush=True)
    said = ", ".join(f"{counts[word]} {word}" for word in ("refused", "read", "broken"))
    print(f"{len(chosen)} hostile files: {said}")
    sys.exit(bool(counts["broken"]) or not chosen)


def tried(case: Case) -> tuple[str, str]:
    """What happened, and which rule it breaks; empty for none."""
    with tempfile.TemporaryDirectory() as root:
        folder, told = Path(root, "deep", "in"), Path(root, "told")
        folder.mkdir(parents=True)
        child = os.fork()
        if child == 0:
            _read(case, folder, told)
        status = _waited(child)
        said = told.read_text(encoding="utf-8", errors="replace") if told.exists() else ""
        strange = sorted(
            str(p.relative_to(root)) for p in Path(root).rglob("*") if _strange(p, root)
        )
    if status is None:
        return "killed", f"did not end in {SECONDS:.0f} s"
    if strange:
        return "wrote", f"wrote {', '.join(strange)}"
    if os.WIFSIGNALED(status):
        return "killed", f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    code, (grown, _, sentence) = os.WEXITSTATUS(status), (said or "0\n").partition("\n")
    if code == BROKEN:
        return "crashed", sentence.strip()
    if int(grown) > MEGABYTES:
        return "read", f"took {grown} MB more"
    if code == REFUSED:
        return "refused", _sentence_fault(sentence, case)
    return "read", "was read; it must be refused" if case.refused else ""


def _sentence_fault(sentence: str, case: Case) -> str:
    if len(sentence) > LONGEST:
        return f"says {len(sentence)} characters: {sentence[:200]} ..."
    if case.reader.file not in sentence and "/in" not in sentence:
        return f"does not name the file: {sentence[:300]}"
    return ""


def _read(case: Case, folder: Path, told: Path) -> None:
    """In the child: read, say what came of it, and end."""
    os.chdir(folder)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    before, code, sentence = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, READ, ""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        case.read(folder)
    except REFUSALS as error:
        code, sentence = REFUSED, str(error)
    except BaseException as error:  # noqa: BLE001  what must not happen is what is looked for
        code, sentence = BROKEN, f"{type(error).__name__}: {str(error)[:300]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    told.write_text(f"{grown}\n{sentence}", encoding="utf-8", errors="replace")
    os._exit(code)


def _waited(child: int) -> int | None:
    """The child's status, or None where it had to be ended."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _strange(path: Path, root: str) -> bool:
    """Whether a path is none that the case laid there itself."""
    place = path.relative_to(root).parts
    return path.name == "pwned" or place[:2] not in (("told",), ("deep",), ("deep", "in"))


if __name__ == "__main__":
    main()
