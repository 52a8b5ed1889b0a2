"""Groups of options that commands share; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from recon_backbones import Masks, PhotoChoice


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Which views are taken, and what is known of their cameras."""

    fps: float | None = None
    """Of a video, take this many frames a second."""
    frames: int | None = None
    """Of a video, take this many frames, spread evenly; 32 unless given."""
    max_views: int | None = None
    """Use at most this many photos: evenly spread, and of neighbours the sharpest."""
    drop_blurred: float = 0.0
    """Leave out photos less sharp than this fraction of the median; 0.3 is mild, 0 keeps all."""
    skip_broken: bool = False
    """Leave out photos that cannot be read, and say which, instead of stopping."""
    recursive: bool = False
    """Take the photos of the folders in a folder too."""
    cameras: Path | None = None
    """Known cameras: a COLMAP model, transforms.json, .npz, or a folder of *_cam.txt."""

    def choice(self) -> "PhotoChoice":
        """Which photos are taken. Raises ValueError for values outside their range."""
        from recon_backbones import PhotoChoice

        return PhotoChoice(
            fps=self.fps,
            frames=self.frames,
            max_views=self.max_views,
            drop_blurred=self.drop_blurred,
            skip_broken=self.skip_broken,
            recursive=self.recursive,
        )


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
    """Drop a background of this colour that touches an edge of the photo."""

    def masks(self) -> "Masks":
        """Which pixels are kept. Raises ValueError for values outside their range."""
        from recon_backbones import Masks

        return Masks(**vars(self))


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """How much memory may be used, and how many views go through the network at once."""

    budget: str | None = None
    """Memory that may be used, as 8GB; all that is free unless given."""
    window: int | None = None
    """Views in one pass of the network; all of them unless given or memory is short."""
    overlap: int | None = None
    """Views that neighbouring passes share; a quarter of the window unless given."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the dense backbone; auto is float32, and bfloat16 on a GPU that is short of memory."""


def check_pixel_choice(confidence_percentile: float, edge_tolerance: float) -> None:
    """Raise ValueError unless pixels can be chosen by these two."""
    if not 0 <= confidence_percentile < 100:
        raise ValueError(
            f"confidence_percentile is {confidence_percentile}; it must be at least 0 "
            "(keep every pixel) and less than 100"
        )
    if not edge_tolerance > 0:
        raise ValueError(f"edge_tolerance is {edge_tolerance}; it must be positive")
