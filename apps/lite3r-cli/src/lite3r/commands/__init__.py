"""The table of subcommands: the word that calls each, and what it is for.

The options of a command lie in `lite3r.options`. The modules beside this one do what is asked:
they are imported when a command runs.
"""

from importlib import import_module
from typing import Any

COMMANDS = {
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


def options_of(word: str) -> type[Any]:
    """The options of a command: class `Word` in the module of that word."""
    kind: type[Any] = getattr(import_module(f"lite3r.options.{word}"), word.capitalize())
    return kind
