"""`lite3r reconstruct`: from photos of one scene to points, depth and cameras."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import OmitArgPrefixes, Positional

from lite3r.options.groups import ModelOptions
from lite3r.shell.command import Command
from lite3r.shell.errors import check_least
from lite3r.shell.terminal import Output

Usual = Literal["ply", "glb", "npz", "depth", "transforms", "colmap", "html", "report"]
Format = Usual | Literal["colmap_text"]
FORMATS: tuple[Format, ...] = get_args(Usual)


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Which views are taken."""

    fps: float | None = None
    """Of a video, take this many frames a second."""
    frames: int | None = None
    """Of a video, take this many frames, spread evenly; 32 unless given."""
    max_views: int | None = None
    """Use at most this many photos: evenly spread, and of neighbors the sharpest."""
    drop_blurred: float = 0.0
    """Leave out photos less sharp than this fraction of the median; 0.3 is mild, 0 keeps all."""
    skip_broken: bool = False
    """Leave out photos that cannot be read, and say which, instead of stopping."""
    recursive: bool = False
    """Take the photos of the folders in a folder too."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Which pixels become points and depth images."""

    confidence_percentile: float = 20.0
    """Drop this share (percent) of the pixels: those of least confidence."""
    edge_tolerance: float = 0.1
    """Drop pixels next to which depth jumps by more than this fraction."""
    mask_sky: bool = False
    """Drop the sky: as a metric network sees it, else what is smooth, bright or blue, and far."""
    mask_background: Literal["none", "black", "white"] = "none"
    """Drop a background of this color that touches an edge of the photo."""
    masks: Path | None = None
    """Folder of your own masks, PHOTO.png each with the photo's whole name: black is ignored."""


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """How much memory may be used, and how many views go through the network at once."""

    budget: str | None = None
    """Memory that may be used, as 8GB; all that is free unless given."""
    window: int | None = None
    """Views in one pass of the network; all of them unless given or memory is short."""
    overlap: int | None = None
    """Views that neighboring passes share; a quarter of the window unless given."""
    close_loops: bool = True
    """Where distant windows show one place, move all so that they meet there."""


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Command, work="lite3r.commands.reconstruct:run"):
    """Reconstruct a scene from photos: points, depth and cameras, in the formats others read."""

    photos: Positional[tuple[str, ...]]
    """A folder, photos, a shell pattern in quotes, a .txt with one path per line, or a video."""
    model: Annotated[ModelOptions, OmitArgPrefixes] = field(default_factory=ModelOptions)
    out: Path | None = None
    """Folder to write; reconstructions/NAME unless given."""
    overwrite: bool = False
    """Replace that folder, if it holds a reconstruction."""
    scenes: bool = False
    """Each input is a scene of its own, into OUT/NAME; start as many processes as you like."""
    formats: tuple[Format, ...] = FORMATS
    """What to write; colmap_text, a model that people can read, only where it is named."""
    size: int = 224
    """Longer side in pixels at which the network sees a photo."""
    cameras: Path | None = None
    """Known cameras: a COLMAP model, transforms.json, .npz, or a folder of *_cam.txt."""
    square_pixels: bool = True
    """Each view has one focal length; without it two, as the network says."""
    shared_camera: bool = False
    """All photos are by one camera: one focal length, square pixels, the middle as center."""
    inputs: Annotated[InputOptions, OmitArgPrefixes] = field(default_factory=InputOptions)
    masks: Annotated[MaskOptions, OmitArgPrefixes] = field(default_factory=MaskOptions)
    max_points: int = 1_000_000
    """Thin the points to at most this many, one per voxel."""
    refine: bool = False
    """Adjust the cameras to what the photos share, to a fraction of a pixel: poses for splats."""
    known_distance: tuple[str, str, float] | None = None
    """A known length: two ends and meters; an end is PHOTO (its camera) or PHOTO:X,Y (a pixel)."""
    metric_model: str | None = None
    """A network that sees meters and sky in single photos, as da3metric-large."""
    metric_weights: str = "hub"
    """Its weights: hub, random, or a file."""
    memory: Annotated[MemoryOptions, OmitArgPrefixes] = field(default_factory=MemoryOptions)
    seed: int = 0
    """Decides random weights."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        check_least(self, 14, "size")  # one patch
        check_least(self, 1, "max_points")
        if not self.photos:
            raise ValueError("photos=(); some must be named: a folder, a pattern, a list, a video")
        if not self.formats:
            raise ValueError("formats=(); some must be named: leave it out for all of them")
        if self.shared_camera and self.cameras is not None:
            raise ValueError("shared_camera=True; given cameras say it themselves: leave one out")
        if self.scenes and self.overwrite:
            raise ValueError("scenes with overwrite; they contradict each other: change --out")
        if self.metric_model is None and self.metric_weights != "hub":
            raise ValueError(
                f"metric_weights={self.metric_weights}; whose must be said: add --metric-model"
            )
        if self.metric_model is not None and self.known_distance is not None:
            raise ValueError("metric_model with known_distance; both give meters: give one of them")
