"""`lite3r info`: what is installed, what is known, and what a student is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from lite3r.shell.command import Command
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class Info(Command, work="lite3r.commands.info:run"):
    """Say what is installed and which backbones and recipes are known, or describe a student."""

    run_folder: Positional[Path | None] = None
    """A student's folder, as runs/da3-tiny; without it, this installation."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)
