"""`lite3r distill`: from a dense teacher to a light student, with true numbers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from lite3r.bench.images import ImageSettings
from lite3r.options.groups import Device, RecipeOptions
from lite3r.shell.command import Command
from lite3r.shell.terminal import Output
from lite3r.student.kinds import Backend, Precision


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a student is taught, as `distill.Training` takes it."""

    steps: int | None = None
    """Steps: 80, 160 for gains, or 0 where a recipe trains nothing or solves instead (out)."""
    learning_rate: float | None = None
    """The highest, of AdamW: 0.001 for projections alone, 0.0003 for gains, 0.0001 for more."""
    ema_decay: float | None = None
    """Let the student end with averaged weights, of this decay; 0.97 for gains, else none."""
    accumulation: int = 1
    """Scenes in a step."""
    checkpoint_every: int = 10
    """Steps from one checkpoint to the next."""
    match: Literal["attention", "outputs", "cameras", "tokens"] | None = None
    """What is matched: outputs of attention; depth and cameras too (outputs), or camera tokens
    besides (cameras); tokens after the sparse blocks (tokens), so for gains unless given."""
    attention_weight: float = 1.0
    """Weight of attention's outputs beside depth and cameras; 0 leaves them out. 0.1 in the paper,
    beside its labels."""
    solve_batches: int | None = None
    """Solve for projections (proj) or last layers (out) by least squares on so many scenes before
    the first step; 12 for out, else none."""
    recompute: bool = False
    """Compute activations again in backward, to keep fewer: less memory, more time."""


@dataclass(frozen=True, kw_only=True)
class Distill(Command, work="lite3r.commands.distill:run"):
    """Make a light student of a dense teacher, and measure both."""

    backbone: str = "da3-tiny"
    """The teacher; `lite3r info` lists the known ones."""
    weights: str | None = None
    """bundled, hub, random, or a file; bundled where they are, and hub for the others."""
    data: str = "synthetic"
    """synthetic, or a folder of photos of one scene, some of which are held out to measure on."""
    photos: tuple[Path, ...] = ()
    """Folders of photos of one scene each: the report shows what each model makes of them."""
    out: Path | None = None
    """Folder of the run; runs/BACKBONE unless given."""
    resume: bool = False
    """Continue the run in that folder."""
    overwrite: bool = False
    """Replace the run in that folder."""
    views: int = 8
    """Views of one scene."""
    size: int = 224
    """Longer side of an image in pixels; aspect ratios are kept."""
    eval_scenes: int = 24
    """Unseen scenes that teacher and student are measured on."""
    many_views: int = 32
    """Views of larger scenes that both are measured on as well; 0 leaves them out."""
    many_scenes: int = 4
    """How many of these."""
    seed: int = 0
    """Decides scenes, order of views, and random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    backend: Backend = "auto"
    """What multiplies the FP8 layers of the deployed student that is measured."""
    precision: Precision = "auto"
    """Its number type; auto is bfloat16 where the device multiplies it fast."""
    recipe: Annotated[RecipeOptions, OmitArgPrefixes] = field(default_factory=RecipeOptions)
    training: Annotated[TrainingOptions, OmitArgPrefixes] = field(default_factory=TrainingOptions)
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        ImageSettings(views=self.views, size=self.size)
        if self.eval_scenes < 1:
            raise ValueError(f"eval_scenes={self.eval_scenes}; it must be at least 1: 24 is usual")
        if self.many_views < 0 or self.many_views == 1 or self.many_scenes < 1:
            raise ValueError(
                f"many_views={self.many_views}, many_scenes={self.many_scenes}; at least 2 views "
                "and 1 scene are measured: --many-views 0 leaves them out"
            )
