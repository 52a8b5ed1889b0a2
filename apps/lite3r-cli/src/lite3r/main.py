"""The command `lite3r`: one subcommand a file in `commands`, each a frozen dataclass.

Nothing here imports PyTorch: a command imports what it needs when it runs, so that help
and mistakes in the command line are answered at once.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version

import tyro
from rich.console import Console

from .commands import COMMANDS, Command
from .errors import UserError

USER_ERROR, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C.

    An error that is no user's mistake keeps its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"lite3r {version('lite3r-cli')}")
        return 0
    command = parse(words)
    try:
        command.run()
    except UserError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"lite3r: {error}", markup=False, soft_wrap=True)
        return USER_ERROR
    except KeyboardInterrupt:
        Console(stderr=True).print("lite3r: stopped; no half-written file is left")
        return INTERRUPTED
    return 0


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
