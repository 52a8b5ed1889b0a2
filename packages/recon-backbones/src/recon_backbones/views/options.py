"""What a caller decides about passes of the network, and about pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from recon_backbones.errors import InputError
from recon_backbones.machine.amounts import parse_bytes

Precision = Literal["kept", "auto", "float32", "bfloat16", "float16"]
Background = Literal["none", "black", "white"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """How much memory may be used, and how many views go through the network at once.

    - `budget`: memory that may be used, as "8GB" or bytes; what is free unless given.
    - `window`: views in one pass; all of them unless given or memory is short.
    - `overlap`: views that neighboring passes share; a quarter of the window unless given.
    - `close_loops`: where views of distant windows show one place, a pass more sees both, and all
      windows are moved so that they meet there.
    - `precision`: of the backbone, which is converted in place: "kept" leaves it alone, "auto"
      takes 16 bits on a GPU that is short of memory: bfloat16, or float16 where that is missing.

    Raises InputError for values outside their range.
    """

    budget: str | int | None = None
    window: int | None = None
    overlap: int | None = None
    close_loops: bool = True
    precision: Precision = "kept"

    def __post_init__(self) -> None:
        _check_known("precision", self.precision, get_args(Precision))
        if self.budget is not None:
            parse_bytes(self.budget)
        if self.window is not None and self.window < 2:
            raise InputError(
                f"window={self.window}; it must be at least 2 views: leave it out to let "
                "memory decide"
            )
        if self.overlap is not None and self.overlap < 1:
            raise InputError(
                f"overlap={self.overlap}; windows must share at least 1 view: leave it out for "
                "a quarter"
            )
        if self.window is not None and self.overlap is not None and self.overlap >= self.window:
            raise InputError(
                f"overlap={self.overlap}; it must be less than window={self.window}: leave it "
                "out for a quarter"
            )


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Which pixels are kept.

    - `confidence_percentile`: this share (percent) of the pixels, of least confidence, is dropped.
    - `edge_tolerance`: pixels next to which depth jumps by more than this fraction are dropped.
    - `mask_sky`: the sky is dropped, as a metric network sees it, else by rule of thumb.
    - `mask_background`: a background of this color that touches an edge of the photo is dropped.
    - `folder`: masks of your own, one a photo, `photo.jpg.png` or `photo.png`: what is black in it
      is dropped (`photos.find_masks`, `photos.read_mask`).

    Raises InputError for values outside their range.
    """

    confidence_percentile: float = 20.0
    edge_tolerance: float = 0.1
    mask_sky: bool = False
    mask_background: Background = "none"
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        _check_known("mask_background", self.mask_background, get_args(Background))
        if not 0 <= self.confidence_percentile < 100:
            raise InputError(
                f"confidence_percentile={self.confidence_percentile}; it must be at least "
                "0 and less than 100: 0 keeps every pixel"
            )
        if not self.edge_tolerance > 0:
            raise InputError(
                f"edge_tolerance={self.edge_tolerance}; it must be positive: infinity keeps "
                "every edge"
            )


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name}={value!r}; it must be known: give one of {', '.join(known)}")
