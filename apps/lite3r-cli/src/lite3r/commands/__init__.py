"""The table of subcommands: the word that calls each, where it lives, and what it is for.

A command is imported when it is called, and imports then what it needs at its top.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Command(Protocol):
    """A subcommand: its fields are its options, `run` does the work."""

    def run(self) -> None:
        """Do the work; a user's mistake raises `UserError`."""


@dataclass(frozen=True)
class Entry:
    """Where a command lives, as module:class, and what it is for."""

    home: str
    about: str

    def load(self) -> type[Any]:
        """Import the command."""
        module, _, name = self.home.partition(":")
        kind: type[Any] = getattr(import_module(module), name)
        return kind


ABOUT = {
    "distill": "Make a light student of a dense teacher, and measure both.",
    "reconstruct": "Reconstruct a scene from photos: points, depth and cameras, in many formats.",
    "view": "Look at reconstructions in a browser, as one file.",
    "eval": "Compare a model with true depth and cameras.",
    "export": "Write a student so that it loads without its teacher, FP8 as FP8.",
    "bench": "Measure speed, memory and quality on this machine.",
    "tune": "Find the cheapest recipe for given weights and your photos.",
    "data": "Make synthetic scenes on disk, or check a folder.",
    "pretrain": "Train the bundled teacher from scratch on synthetic scenes.",
    "info": "Say what is installed and known, or describe a student.",
}
COMMANDS = {
    word: Entry(f"lite3r.commands.{word}:{word.capitalize()}", about)
    for word, about in ABOUT.items()
}
