"""Groups of options that commands share; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


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
    cameras: Path | None = None
    """Known cameras: a COLMAP model, transforms.json, .npz, or a folder of *_cam.txt."""

    def __post_init__(self) -> None:
        if self.fps is not None and self.frames is not None:
            raise ValueError(f"fps is {self.fps} and frames {self.frames}; give one of the two")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps}; it must be above 0 and at most 1000")
        for name in ("frames", "max_views"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise ValueError(f"{name} is {value}; it must be at least 2")
        if not 0 <= self.drop_blurred < 1:
            raise ValueError(
                f"drop_blurred is {self.drop_blurred}; it must be at least 0 and less than 1"
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

    def __post_init__(self) -> None:
        check_pixel_choice(self.confidence_percentile, self.edge_tolerance)


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

    def __post_init__(self) -> None:
        if self.budget is not None:
            parse_bytes(self.budget)
        if self.window is not None and self.window < 2:
            raise ValueError(f"window is {self.window}; it must be at least 2 views")
        if self.overlap is not None and self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; windows must share at least 1 view")
        if self.window is not None and self.overlap is not None and self.overlap >= self.window:
            raise ValueError(
                f"overlap is {self.overlap}; it must be less than the window, {self.window}"
            )


def check_pixel_choice(confidence_percentile: float, edge_tolerance: float) -> None:
    """Raise ValueError unless pixels can be chosen by these two."""
    if not 0 <= confidence_percentile < 100:
        raise ValueError(
            f"confidence_percentile is {confidence_percentile}; it must be at least 0 "
            "(keep every pixel) and less than 100"
        )
    if not edge_tolerance > 0:
        raise ValueError(f"edge_tolerance is {edge_tolerance}; it must be positive")


def parse_bytes(text: str) -> int:
    """Read an amount of memory: 8GB, 8 GiB, 512M, 2000000000.

    Raises ValueError for anything else, and for nothing.
    """
    cleaned = text.strip().lower().replace(" ", "")
    digits = cleaned.rstrip("bkmgti")
    unit = cleaned[len(digits) :]
    binary, plain = unit.endswith(("ib", "i")), unit.removesuffix("b").removesuffix("i")
    try:
        amount = float(digits)
        factor = 1024 ** " kmgt".index(plain) if binary else UNITS[plain]
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is no amount of memory; write 8GB, 500MB or 6GiB") from None
    if not 0 < amount * factor < 1e18:
        raise ValueError(f"{text!r} is no amount of memory that a machine has; write 8GB")
    return int(amount * factor)


def readable(size: int) -> str:
    """An amount of memory for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
