"""`lite3r pretrain`: train the bundled teacher on scenes drawn here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from lite3r.shell.command import Command
from lite3r.shell.errors import check_least
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class Pretrain(Command, work="lite3r.commands.pretrain:run"):
    """Train a bundled network on synthetic scenes, export it, and measure it.

    It goes on from the bundled weights unless told otherwise. Scenes are rendered on the device
    while it trains. An interrupted run goes on where it was.
    """

    backbone: str = "da3-tiny"
    """Which network: da3-tiny or vggt-tiny."""
    start: Annotated[str, arg(name="from")] = "bundled"
    """Weights to start from: bundled, random, a file, or da3-tiny for what vggt-tiny shares."""
    out: Path = Path("runs/pretrain")
    """Folder of the training state, its logs, the weights and the measurements."""
    steps: int = 4000
    """Steps of the whole run, unless --minutes ends it."""
    minutes: float | None = None
    """End after so many minutes of training instead, annealed whatever was reached."""
    world: float = 0.2
    """Share of scenes from the rich world; the others are rooms."""
    peak: float | None = None
    """Highest learning rate, as a part of the full one; 0.4 on trained weights, else 1."""
    seed: int = 0
    """Decides the scenes: with another one a second training sees others than the first."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device that renders and trains."""
    processes: int = 2
    """Training processes, one CPU core each; 1 on a GPU."""
    larger: int = 1
    """So many times the scenes in each step, for a GPU that has room for them."""
    test_scenes: int = 64
    """Unseen scenes that the result is measured on."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        check_least(self, 1, "processes", "steps", "test_scenes", "larger")
        if not 0 <= self.world <= 1:
            raise ValueError(f"world={self.world}; it must be in [0, 1]: 0.2 is usual")
