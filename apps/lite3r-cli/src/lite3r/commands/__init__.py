"""The subcommands, by the word that calls them."""

from typing import Protocol

from .distill import Distill as Distill
from .eval import Eval as Eval
from .info import Info as Info
from .reconstruct import Reconstruct as Reconstruct


class Command(Protocol):
    """A subcommand: its fields are its options, `run` does the work."""

    def run(self) -> None:
        """Do the work; a user's mistake raises `UserError`."""


COMMANDS: dict[str, type[Command]] = {
    "distill": Distill,
    "reconstruct": Reconstruct,
    "eval": Eval,
    "info": Info,
}
