"""`lite3r tune`: the cheapest recipe that stays near the dense network on a user's photos."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from lite3r.bench.images import ImageSettings
from lite3r.options.groups import Device
from lite3r.shell.command import Command
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class Tune(Command, work="lite3r.commands.tune:run"):
    """Find the cheapest recipe whose answers stay near the dense network's, on your photos.

    No truth is needed. Candidates that were measured are not measured again.
    """

    data: Path
    """A folder of photos of one scene; every second set of views is held out and decides."""
    backbone: str = "da3-tiny"
    """Which dense backbone; `lite3r info` lists the known ones."""
    weights: str | None = None
    """Its weights: bundled, hub, random, or a file."""
    allow: float = 0.01
    """Allowed change of depth against the dense network: the median over pixels."""
    allow_pose: float = 0.2
    """Allowed change of cameras: what AUC@30, the dense network's being the truth, misses of 1."""
    views: int | None = None
    """Photos of one set: as many as you will reconstruct at once; half of all unless given."""
    size: int = 224
    """Longer side of an image in pixels; aspect ratios are kept."""
    out: Path | None = None
    """Folder of recipe.json, measured.json, tune.md, tune.svg; runs/tune-BACKBONE unless given."""
    overwrite: bool = False
    """Measure anew what that folder holds."""
    seed: int = 0
    """Decides random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.views is not None:
            ImageSettings(views=self.views, size=self.size)
