"""`lite3r data`: make synthetic scenes on disk, and check a folder before long work."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from lite3r.shell.command import Command
from lite3r.shell.errors import check_least
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class Make(Command, work="lite3r.commands.data:make"):
    """Draw synthetic scenes and write them in the BlendedMVS layout."""

    out: Positional[Path]
    """Folder to write, one folder a scene in it."""
    scenes: int = 8
    """How many scenes."""
    views: int = 8
    """Views of one scene."""
    size: int = 224
    """Height and width of an image in pixels."""
    split: Literal["train", "validation", "test"] = "test"
    """Which scenes; no scene is in two of them."""
    seed: int = 0
    """Decides the scenes."""
    overwrite: bool = False
    """Replace that folder."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        check_least(self, 1, "scenes", "views", "size")


@dataclass(frozen=True, kw_only=True)
class Check(Command, work="lite3r.commands.data:check"):
    """Read everything in a folder of photos or of scenes, and say what is wrong with which file."""

    folder: Positional[Path]
    """Photos of one scene, or scenes in the BlendedMVS layout."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Make synthetic scenes on disk, or check a folder."""

    action: OmitSubcommandPrefixes[
        Annotated[Make, subcommand("make")] | Annotated[Check, subcommand("check")]
    ]
