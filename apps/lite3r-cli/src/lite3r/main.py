"""The command `lite3r`: one subcommand a file in `commands`, each a frozen dataclass.

Nothing here imports PyTorch: a command imports what it needs when it runs, so that help
and mistakes in the command line are answered at once.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import tyro
from rich.console import Console

from .commands import COMMANDS, Command
from .errors import UserError
from .terminal import Output, log

DONE, USER_ERROR, INTERRUPTED, CLOSED_PIPE = 0, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    0: done. 2: a user's mistake, told in one sentence. 130: Ctrl-C. 141: whoever read the
    output has gone. An error that is none of these keeps its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"lite3r {version('lite3r-cli')}")
        return DONE
    command = parse(words)
    try:
        command.run()
        sys.stdout.flush()
    except UserError as error:
        _tell(error, output_of(command))
        return USER_ERROR
    except KeyboardInterrupt:
        Console(stderr=True).print("lite3r: stopped; no half-written file is left")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is flushed
        return CLOSED_PIPE
    return DONE


def output_of(command: Command) -> Output:
    """How a command, or the action of one, was asked to speak."""
    speaker: Any = getattr(command, "action", command)
    found: Output = speaker.output
    return found


def _tell(error: UserError, output: Output) -> None:
    console = Console(stderr=True, highlight=False)
    if output.verbose:
        console.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
    console.print(f"lite3r: {error}", markup=False, soft_wrap=True)
    with suppress(UserError):  # the file itself may be the mistake
        log(output, f"error: {error}")


def parse(words: Sequence[str]) -> Command:
    """The command that a command line means; wrong ones end the program with exit code 2."""
    flags = (tyro.conf.FlagCreatePairsOff,)
    if words and words[0] in COMMANDS:  # messages then name this command alone
        kind = COMMANDS[words[0]]
        return tyro.cli(kind, prog=f"lite3r {words[0]}", args=list(words[1:]), config=flags)
    command: Command = tyro.extras.subcommand_cli_from_dict(
        dict(COMMANDS),
        prog="lite3r",
        description="Make feed-forward 3-D reconstruction cheap to run, and show every number.",
        args=list(words),
        sort_subcommands=False,
        config=flags,
    )
    return command
