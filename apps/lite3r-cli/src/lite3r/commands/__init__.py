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


COMMANDS = {
    "distill": Entry(
        "lite3r.commands.distill:Distill",
        "Make a light student of a dense teacher, and measure both.",
    ),
    "reconstruct": Entry(
        "lite3r.commands.reconstruct:Reconstruct",
        "Reconstruct a scene from photos: points, depth and cameras, in many formats.",
    ),
    "view": Entry(
        "lite3r.commands.view:View",
        "Look at reconstructions in a browser, as one file.",
    ),
    "eval": Entry(
        "lite3r.commands.eval:Eval",
        "Compare a model with true depth and cameras.",
    ),
    "export": Entry(
        "lite3r.commands.export:Export",
        "Write a student so that it loads without its teacher, FP8 as FP8.",
    ),
    "bench": Entry(
        "lite3r.commands.bench:Bench",
        "Measure speed, memory and quality on this machine.",
    ),
    "tune": Entry(
        "lite3r.commands.tune:Tune",
        "Find the cheapest recipe for given weights and your photos.",
    ),
    "data": Entry(
        "lite3r.commands.data:Data",
        "Make synthetic scenes on disk, or check a folder.",
    ),
    "pretrain": Entry(
        "lite3r.commands.pretrain:Pretrain",
        "Train the bundled teacher from scratch on synthetic scenes.",
    ),
    "info": Entry(
        "lite3r.commands.info:Info",
        "Say what is installed and known, or describe a student.",
    ),
}
