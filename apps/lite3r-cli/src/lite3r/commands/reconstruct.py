"""`lite3r reconstruct`: from photos of one scene to points, depth and cameras."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import OmitArgPrefixes, Positional

from ..settings import InputOptions, MaskOptions, MemoryOptions
from ..terminal import Output

Format = Literal["ply", "glb", "npz", "depth", "transforms", "colmap", "html", "report"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct a scene from photos: points, depth and cameras, in the formats others read."""

    photos: Positional[tuple[str, ...]]
    """A folder, photos, a shell pattern in quotes, a .txt with one path per line, or a video."""
    model: str = "teacher"
    """A student's folder, as runs/da3-tiny, or teacher for the dense backbone."""
    backbone: str = "da3-tiny"
    """Which dense backbone, with --model teacher."""
    weights: str | None = None
    """The backbone's weights: bundled, hub, random, or a file."""
    out: Path | None = None
    """Folder to write; reconstructions/NAME unless given."""
    overwrite: bool = False
    """Replace that folder, if it holds a reconstruction."""
    formats: tuple[Format, ...] = FORMATS
    """What to write."""
    size: int = 224
    """Longer side in pixels at which the network sees a photo."""
    inputs: Annotated[InputOptions, OmitArgPrefixes] = field(default_factory=InputOptions)
    masks: Annotated[MaskOptions, OmitArgPrefixes] = field(default_factory=MaskOptions)
    max_points: int = 1_000_000
    """Thin the points to at most this many, one per voxel."""
    known_distance: tuple[str, str, float] | None = None
    """A known length: two ends and metres; an end is PHOTO (its camera) or PHOTO:X,Y (a pixel)."""
    metric_model: str | None = None
    """A network that sees metres and sky in single photos, as da3metric-large."""
    metric_weights: str = "hub"
    """Its weights: hub, random, or a file."""
    memory: Annotated[MemoryOptions, OmitArgPrefixes] = field(default_factory=MemoryOptions)
    seed: int = 0
    """Decides random weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.size < 14:
            raise ValueError(f"size is {self.size}; it must be at least 14 pixels, one patch")
        if self.max_points < 1:
            raise ValueError(f"max_points is {self.max_points}; it must be at least 1")
        if not self.photos:
            raise ValueError("photos: name a folder, photos, a pattern, a .txt list or a video")

        if self.metric_model is not None and self.known_distance is not None:
            raise ValueError("metric_model and known_distance both give metres; give one of them")

    def run(self) -> None:
        """Reconstruct, and write everything or nothing."""
        from ..reconstruct.run import run_reconstruct
        from ..terminal import Terminal

        run_reconstruct(self, Terminal(self.output))
