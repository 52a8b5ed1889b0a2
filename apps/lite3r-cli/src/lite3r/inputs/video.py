"""Frames of a video as photos on disk: so many, or so many a second, each the sharpest nearby."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from recon_eval.data import VideoFrames

from ..settings import InputOptions
from .select import thumbnail

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"})
CANDIDATES = 3  # frames that compete for one place
DEFAULT_FRAMES = 32
QUALITY = 95  # of the JPEG files


def is_video(path: Path) -> bool:
    """Whether a name is that of a video."""
    return path.suffix.lower() in SUFFIXES


def extract_frames(
    path: Path, folder: Path, options: InputOptions, *, advance: Callable[[], None] = lambda: None
) -> list[Path]:
    """Write the chosen frames into `folder`, each named by its number in the video.

    Of the frames around each place the sharpest is taken; one frame is in memory at a time.
    Raises ValueError for a file that is no video, and when it has too few frames.
    """
    total = len(VideoFrames(path, every=1))
    stride = _stride(path, total, options)
    places = max(1, round(total / stride))
    if places < 2:
        raise ValueError(
            f"{path}: has {total} frames, of which {places} would be taken; at least 2 views are "
            "needed: give a higher --fps, or --frames"
        )
    folder.mkdir(parents=True, exist_ok=True)
    every = max(1, int(stride / CANDIDATES))
    written: list[Path] = []
    for number, frame in _sharpest(VideoFrames(path, every=every), total, places):
        written.append(folder / f"{number:06d}.jpg")
        frame.save(written[-1], quality=QUALITY, subsampling=0)
        advance()
    return written


def _stride(path: Path, total: int, options: InputOptions) -> float:
    """How many frames of the video go to one view."""
    if options.fps is None:
        wanted = options.frames or min(DEFAULT_FRAMES, total)
        if wanted > total:
            raise ValueError(f"{path}: has {total} frames, and {wanted} are asked for")
        return total / wanted
    rate = frames_per_second(path)
    if options.fps > rate:
        raise ValueError(
            f"{path}: has {rate:g} frames a second, and --fps {options.fps:g} asks for more"
        )
    return rate / options.fps


def frames_per_second(path: Path) -> float:
    """The rate that the file states. Raises ValueError when it states none."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    if not np.isfinite(rate) or rate <= 0:
        raise ValueError(f"{path}: does not say its frame rate; give --frames instead of --fps")
    return rate


def _sharpest(frames: VideoFrames, total: int, places: int) -> Iterator[tuple[int, Image.Image]]:
    """The sharpest frame of each of `places` equal stretches, with its number."""
    best: tuple[float, int, Image.Image] | None = None
    current = 0
    for number, frame in zip(frames.numbers, frames, strict=True):
        place = min(number * places // total, places - 1)
        if place != current and best is not None:
            yield best[1], best[2]
            best = None
        current = place
        sharpness = thumbnail(np.asarray(frame)).sharpness
        if best is None or sharpness > best[0]:
            best = (sharpness, number, frame)
    if best is not None:
        yield best[1], best[2]
