"""A queue of jobs in a folder, for any number of processes: each job is done once.

    FOLDER/queue.json     settings that all who work on it share
    FOLDER/NAME.claim     held by who does the job; one line for each start of which nothing came
    FOLDER/NAME.json      what came of it: done, with its result, or broken, and why

A claim is a lock of the system on its file. It is taken whole or not at all, and it ends with its
process, however that ends, so a job whose process died is free at once; no clock decides who is
alive. What is done stays done: the same call, later, does the rest.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distill.resume.files import is_full, write_atomically
from distill.resume.hold import held_file
from distill.resume.identity import differences

MOST_BYTES = 1 << 24  # of a note
LONGEST_NAME = 255 - len("..json.partial")  # of a job: file systems take 255 bytes


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Where jobs stand, and what happens to those that fail.

    - `folder`: of notes and claims, on a disk that all processes see and that has locks of files.
    - `settings`: as JSON holds them; a queue that was begun with others is refused.
    - `broken`: exceptions that mean that a job cannot be done; it is noted, and others go on. Any
      other ends the process, and so does a disk that is full or read-only.
    - `starts`: a job that this many processes died of is noted as broken.
    - `pause_seconds`: between two looks at what other processes do.

    Raises ValueError for values outside their range.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    broken: tuple[type[Exception], ...] = (ValueError, OSError)
    starts: int = 3
    pause_seconds: float = 0.2

    def __post_init__(self) -> None:
        if self.starts < 1:
            raise ValueError(f"starts={self.starts}; it must be at least 1: give more")
        if not self.pause_seconds > 0:
            raise ValueError(f"pause_seconds={self.pause_seconds}; it must be positive: give more")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What came of a job.

    - `job`: what it was, as it was given.
    - `state`: whether it is done, or cannot be.
    - `result`: what the work returned; empty where it is broken.
    - `why`: a sentence; empty where it is done.
    """

    job: Any
    state: Literal["done", "broken"]
    result: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of all jobs, by name, and which of them this process did."""

    notes: Mapping[str, Note]
    own: tuple[str, ...]

    @property
    def broken(self) -> dict[str, str]:
        """Why jobs could not be done."""
        return {name: note.why for name, note in self.notes.items() if note.state == "broken"}


def work_off(
    queue: Queue,
    jobs: Mapping[str, Any],
    work: Callable[[str, int], Mapping[str, Any]],
    *,
    say: Callable[[str], object] = lambda text: None,
) -> Outcome:
    """Do jobs until each of them is done or broken, by this process or by another.

    Call it in as many processes as there shall be, at any time, with equal arguments. It ends when
    nothing is left, so that the last process alive takes over what others leave behind.

    - `jobs`: by name, what each is, as JSON holds it. A name becomes the name of a file.
    - `work`: takes a name and how many times the job was started, 1 at first; returns what JSON
      can hold, and anything else is a ValueError of it. A job that was started before may have
      left things half done.
    - `say`: takes sentences.

    Raises ValueError for a name that is no file's, a job that JSON cannot hold, a queue of other
    settings or jobs, and a damaged note; OSError where the disk refuses, or has no locks
    (`NoLocksError`).
    """
    _check_jobs(jobs)
    _open(queue)
    notes: dict[str, Note] = {}
    own: list[str] = []
    told = False
    while True:
        before = len(notes)
        for name in [name for name in jobs if name not in notes]:
            note = _read(queue, name, jobs[name])
            if note is None:
                note = _claim(queue, name, jobs[name], work, own, say)
            if note is not None:
                notes[name] = note
        left = len(jobs) - len(notes)
        if not left:
            return Outcome(notes={name: notes[name] for name in jobs}, own=tuple(own))
        if len(notes) == before:
            if not told:
                say(f"waiting for {left} that other processes are at")
            told = True
            time.sleep(queue.pause_seconds)


def forget_done(queue: Queue, names: Iterable[str]) -> None:
    """Let jobs that are noted as done be done again, as where their results were removed since.

    Those that are noted as broken, or not at all, stay as they are. Raises ValueError for a damaged
    note.
    """
    for name in names:
        path = queue.folder / f"{name}.json"
        with suppress(FileNotFoundError):  # another process has forgotten it as well
            if path.exists() and _parsed(path).get("state") == "done":
                path.unlink()


def _claim(
    queue: Queue,
    name: str,
    job: Any,
    work: Callable[[str, int], Mapping[str, Any]],
    own: list[str],
    say: Callable[[str], object],
) -> Note | None:
    """Do a job unless another process is at it; what came of it."""
    with held_file(queue.folder / f"{name}.claim") as handle:
        if handle is None:
            return None
        if note := _read(queue, name, job):  # between the look and the claim
            return note
        start = _started(handle)
        if start > queue.starts:
            note = Note(
                job=job, state="broken", why=f"{queue.starts} processes ended at work on it"
            )
        else:
            note = _done(queue, name, job, work, start, handle)
            own.append(name)
        if note.state == "broken":
            say(f"{name} is broken: {note.why}")
        write_atomically(queue.folder / f"{name}.json", _told(note))
        os.ftruncate(handle, 0)  # once the note is removed, starts count anew
        return note


def _done(
    queue: Queue,
    name: str,
    job: Any,
    work: Callable[[str, int], Mapping[str, Any]],
    start: int,
    handle: int,
) -> Note:
    try:
        return Note(job=job, state="done", result=_plain(name, work(name, start)))
    except KeyboardInterrupt:  # the job is not to blame
        _forget_start(handle)
        raise
    except queue.broken as error:
        if _disk_refuses(error):
            _forget_start(handle)
            raise
        return Note(job=job, state="broken", why=str(error) or type(error).__name__)


def _plain(name: str, found: Any) -> dict[str, Any]:
    """What a work returned, as its note gives it back. Raises ValueError for what JSON has not."""
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(found), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"result of {name}={type(found).__name__}; it must be a mapping that JSON can hold "
            f"({error}): give None for numbers that are not finite"
        ) from error
    return result


def _told(note: Note) -> str:
    """A note as JSON; bytes of a file's name that are no UTF-8 stand as JSON escapes them."""
    told = json.dumps(vars(note), indent=1, ensure_ascii=False, allow_nan=False)
    return told.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _disk_refuses(error: BaseException | None) -> bool:
    """Whether an error comes from a disk that takes nothing more, of any job."""
    while error is not None:
        if isinstance(error, OSError) and (is_full(error) or error.errno == errno.EROFS):
            return True
        error = error.__cause__
    return False


def _started(handle: int) -> int:
    """Count a start in a claim, and return how many there were."""
    os.lseek(handle, 0, os.SEEK_END)
    os.write(handle, f"{os.uname().nodename} {os.getpid()}\n".encode())
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, MOST_BYTES).count(b"\n")


def _forget_start(handle: int) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    lines = os.read(handle, MOST_BYTES).splitlines(keepends=True)
    os.ftruncate(handle, sum(map(len, lines[:-1])))


def _check_jobs(jobs: Mapping[str, Any]) -> None:
    for name, job in jobs.items():
        odd = Path(name).name != name or name in ("", ".", "..", "queue") or "\0" in name
        if odd or len(os.fsencode(name)) > LONGEST_NAME:
            raise ValueError(
                f"name={name!r}; a job's name must be that of a file, other than queue, of at most "
                f"{LONGEST_NAME} bytes: name it otherwise"
            )
        try:
            json.dumps(job, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}={job!r}; a job must be what JSON can hold ({error}): describe it by text"
            ) from error


def _open(queue: Queue) -> None:
    """Begin a queue, or hold its settings against those it was begun with."""
    queue.folder.mkdir(parents=True, exist_ok=True)
    now, path = json.loads(json.dumps(dict(queue.settings))), queue.folder / "queue.json"
    with held_file(queue.folder / "queue.claim", wait=True):
        if not path.exists():
            write_atomically(path, json.dumps(now, indent=1, allow_nan=False) + "\n")
        before = _parsed(path)
    if changed := differences(before, now):
        raise ValueError(
            f"folder={str(queue.folder)!r}; its queue goes on with the same settings, and these "
            "differ:\n  " + "\n  ".join(changed) + "\nGive the settings of the queue, or another "
            "folder"
        )


def _read(queue: Queue, name: str, job: Any) -> Note | None:
    """What came of a job, if anything did."""
    path = queue.folder / f"{name}.json"
    if not path.exists():
        return None
    found = _parsed(path)
    if found.keys() != Note.__dataclass_fields__.keys():
        raise _damaged(path)
    if found["job"] != json.loads(json.dumps(job)):
        raise ValueError(
            f"{name}={job!r}; in this queue it was {found['job']!r}: give it another name, or "
            "another folder"
        )
    return Note(**found)


def _parsed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> ValueError:
    return ValueError(f"note={str(path)!r}; it is damaged: remove it, and the job is done again")
