"""The command `lite3r`: one subcommand a file in `options`, each a frozen dataclass.

Nothing here imports PyTorch, so that help is answered at once; see `commands.COMMANDS`.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from platform import machine
from typing import Any

from lite3r.commands import COMMANDS, options_of
from lite3r.shell.command import Command
from lite3r.shell.errors import FULL, UserError, sentence
from lite3r.shell.terminal import Output

DONE, USER_ERROR, INTERRUPTED, CLOSED_PIPE, TERMINATED = 0, 2, 130, 141, 143
ABOUT = "Turn photos into a 3-D scene, and make the networks that do it cheap to run."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    0: done. 2: a user's mistake, told in one sentence. 130: Ctrl-C. 141: whoever read the
    output has gone. 143: SIGTERM. An error that is none of these keeps its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    getattr(sys.stdout, "reconfigure", dict)(errors="backslashreplace")  # no result is lost
    try:
        try:
            return _answer(words)
        finally:
            print(end="", flush=True)  # also where there is no standard output
    except OSError as error:
        full = error.errno in FULL
        if not full and not isinstance(error, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is flushed
        if full:
            print(f"lite3r: {sentence(error)}", file=sys.stderr)
        return USER_ERROR if full else CLOSED_PIPE


def _answer(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"lite3r {version('lite3r-cli')}")
    elif not words or words[0] in ("-h", "--help"):
        print(overview())
    else:
        command = parse(words)
        _quieten(command.output)
        try:
            with _terminable():
                command.run()
        except UserError as error:
            _tell(error, command.output)
            return USER_ERROR
        except KeyboardInterrupt as stop:
            print("lite3r: stopped; no half-written file is left", file=sys.stderr)
            return TERMINATED if signal.SIGTERM in stop.args else INTERRUPTED
        except SystemExit as left:  # which rich makes of it
            raise BrokenPipeError from left
    return DONE


def _quieten(output: Output) -> None:
    """Let threads that wait sleep soon, for the busy ones, and FFmpeg's words be left to us."""
    told = os.environ  # noqa: TID251  read as PyTorch and OpenCV are loaded, without an argument
    told.setdefault("OPENCV_FFMPEG_LOGLEVEL", "16" if output.verbose else "-8")  # errors, or none
    if machine() == "x86_64" and "OMP_WAIT_POLICY" not in told:  # a spin is long there
        told.setdefault("GOMP_SPINCOUNT", "1000")


def overview() -> str:
    """What `lite3r --help` says."""
    listed = "\n".join(f"  {word:<12} {about}" for word, about in COMMANDS.items())
    more = "lite3r COMMAND --help has every option; lite3r --version says which version this is."
    return f"usage: lite3r COMMAND [OPTIONS]\n\n{ABOUT}\n\ncommands:\n{listed}\n\n{more}"


def parse(words: Sequence[str]) -> Command:
    """The command that a command line means; wrong ones end the program with exit code 2."""
    wrong = ""
    if any(not word or (word[:2] == "--" and word[-1] == "=") for word in words):
        wrong = "word=''; each must say something: set what it comes from, or leave it out"
    elif words[0][0] != "-" and words[0] not in COMMANDS:
        wrong = f"command={words[0]!r}; it must be known: {', '.join(COMMANDS)}"
    if wrong:
        print(f"lite3r: {wrong}", file=sys.stderr)
        raise SystemExit(USER_ERROR)
    import tyro  # after help has been answered without it

    flags = (tyro.conf.FlagCreatePairsOff,)
    if words[0] in COMMANDS:  # messages then name this command alone
        kind = options_of(words[0])
        asked = tyro.cli(kind, prog=f"lite3r {words[0]}", args=list(words[1:]), config=flags)
        return getattr(asked, "action", asked)
    kinds: dict[str, Any] = {word: options_of(word) for word in COMMANDS}  # completions name all
    told: dict[str, Any] = {"prog": "lite3r", "description": ABOUT, "sort_subcommands": False}
    asked = tyro.extras.subcommand_cli_from_dict(kinds, args=list(words), config=flags, **told)
    return getattr(asked, "action", asked)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, as schedulers send it, raise what Ctrl-C does, so that all is cleaned up."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread listen
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(error: UserError, output: Output) -> None:
    if output.verbose:
        print("".join(traceback.format_exception(error)), file=sys.stderr)
    print(f"lite3r: {error}", file=sys.stderr)
    with suppress(UserError):  # the file itself may be the mistake
        output.log(f"error: {error}")
