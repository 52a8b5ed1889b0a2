"""The subcommands, by the word that calls them."""

from typing import Protocol, runtime_checkable

from .bench import Bench as Bench
from .data import Data as Data
from .distill import Distill as Distill
from .eval import Eval as Eval
from .export import Export as Export
from .info import Info as Info
from .pretrain import Pretrain as Pretrain
from .reconstruct import Reconstruct as Reconstruct
from .view import View as View


@runtime_checkable
class Command(Protocol):
    """A subcommand: its fields are its options, `run` does the work."""

    def run(self) -> None:
        """Do the work; a user's mistake raises `UserError`."""


COMMANDS: dict[str, type[Command]] = {
    "distill": Distill,
    "reconstruct": Reconstruct,
    "view": View,
    "eval": Eval,
    "export": Export,
    "bench": Bench,
    "data": Data,
    "pretrain": Pretrain,
    "info": Info,
}
