"""`lite3r data`: make synthetic scenes on disk, and check a folder before long work."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from lite3r.bench.checking import check_folder
from lite3r.shell import atomic
from lite3r.shell.errors import UserError, check_least, reported
from lite3r.shell.terminal import Output, Terminal
from recon_eval.data import SyntheticScenes, write_blendedmvs


@dataclass(frozen=True, kw_only=True)
class Make:
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

    def run(self) -> None:
        """Write everything or nothing."""
        terminal = Terminal(self.output)
        with reported():
            drawn = SyntheticScenes(
                self.split,
                count=self.scenes,
                views=self.views,
                height=self.size,
                width=self.size,
                seed=self.seed,
            )
            with (
                atomic.new_folder(self.out, overwrite=self.overwrite) as partial,
                terminal.progress("drawing", self.scenes) as advance,
            ):
                for number in range(self.scenes):
                    write_blendedmvs(drawn[number], partial)
                    advance()
        terminal.result(
            {"out": str(self.out), "scenes": self.scenes, "views": self.views},
            f"{self.scenes} scenes of {self.views} views in {self.out}",
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """Read everything in a folder of photos or of scenes, and say what is wrong with which file."""

    folder: Positional[Path]
    """Photos of one scene, or scenes in the BlendedMVS layout."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def run(self) -> None:
        """Print what was found; problems end with exit code 2."""
        terminal = Terminal(self.output)
        with reported():
            found = check_folder(self.folder, terminal.words)
        for problem in found.problems:
            terminal.say(problem)
        terminal.result(
            {"kind": found.kind, "items": found.items, "problems": found.problems},
            f"{self.folder}: {found.items} {found.kind}, {len(found.problems)} problems",
        )
        if found.problems:
            count = f"{len(found.problems)} of {found.items} {found.kind}"
            raise UserError(f"{count} are not usable; they are listed above: mend or remove them")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Make synthetic scenes on disk, or check a folder."""

    action: OmitSubcommandPrefixes[
        Annotated[Make, subcommand("make")] | Annotated[Check, subcommand("check")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()
