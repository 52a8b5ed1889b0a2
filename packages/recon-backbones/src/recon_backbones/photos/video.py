"""Frames of a video as photos on disk: so many, or so many a second, each the sharpest nearby.

A video is decoded from its first frame on, so that frames are those counted and not what a seek
happens to hit. Places of `fps` are times, as the rate of a video may vary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from recon_backbones.errors import InputError
from recon_backbones.photos.choice import PhotoChoice
from recon_backbones.photos.select import thumbnail
from recon_backbones.telling import SILENT, Telling

CANDIDATES = 3  # frames that compete for one place
DEFAULT_FRAMES = 32
QUALITY = 95  # of the JPEG files
MISSING = 0.03  # share of the stated length by which a whole video may end early


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When each frame of a video is shown, and how long the file says it is, in seconds."""

    times: tuple[float, ...]
    stated: float

    @property
    def frames_per_second(self) -> float:
        """The highest rate anywhere in the video."""
        gaps = [after - before for before, after in pairwise(self.times) if after > before]
        return 1 / min(gaps) if gaps else 0.0


def extract_frames(
    path: Path, folder: Path, choice: PhotoChoice, *, telling: Telling = SILENT
) -> list[Path]:
    """Write the chosen frames into `folder`, each named by its number in the video.

    Of the frames around each place the sharpest is taken; one frame is in memory at a time. A
    video that ends before the time that it states is used, and that is said.

    Raises InputError for a file that is no video, and when it has too few frames.
    """
    clock = read_clock(path)
    places = _places(path, clock, choice)
    count = len(set(places.values()))
    if count < 2:
        raise InputError(
            f"{path}: has {len(clock.times)} frames, of which {count} would be taken; at least 2 "
            "views are needed: give a higher fps, or frames"
        )
    lost = clock.stated - clock.times[-1]
    if lost > max(0.5, MISSING * clock.stated):
        telling.say(
            f"{path} is cut: it ends at {clock.times[-1]:.1f} s of the {clock.stated:.1f} s that "
            "it states; what is there is used"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, frame in _sharpest(path, places):
        written.append(folder / f"{number:06d}.jpg")
        frame.save(written[-1], quality=QUALITY, subsampling=0)
    return written


def read_clock(path: Path) -> Clock:
    """Go through a video once, without decoding pixels, for the time of every frame.

    Raises InputError for a file that is no video, or has no frame.
    """
    times: list[float] = []
    rate = length = 0.0
    for capture in _grabbed(path):
        times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
        if len(times) == 1:
            rate = float(capture.get(cv2.CAP_PROP_FPS))
            length = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if not times:
        raise InputError(
            f"{path}: has no frame that can be read; it must have some: give another video, or "
            "photos"
        )
    sane = np.isfinite(rate) and rate > 0
    if sane and not all(after > before for before, after in pairwise(times)):
        times = [number / rate for number in range(len(times))]  # the container tells no times
    return Clock(times=tuple(times), stated=length / rate if sane and length > 0 else times[-1])


def _places(path: Path, clock: Clock, choice: PhotoChoice) -> dict[int, int]:
    """Numbers of the frames that compete, each with the place that it competes for."""
    total = len(clock.times)
    if choice.fps is not None:
        rate = clock.frames_per_second
        if not rate:
            raise InputError(
                f"{path}: does not say when its frames are; fps needs their times: give "
                "frames, not fps"
            )
        if choice.fps > 1.01 * rate:
            raise InputError(
                f"{path}: has {rate:.4g} frames a second; fps={choice.fps:g} asks for "
                "more: give at most that"
            )
        return _by_time(clock, choice.fps)
    wanted = choice.frames or min(DEFAULT_FRAMES, total)
    if wanted > total:
        raise InputError(f"{path}: has {total} frames; {wanted} are asked for: give fewer")
    every = max(1, int(total / wanted / CANDIDATES))
    return {n: min(n * wanted // total, wanted - 1) for n in range(0, total, every)}


def _by_time(clock: Clock, fps: float) -> dict[int, int]:
    """One place for each stretch of 1 / fps seconds that holds a frame."""
    found: dict[int, int] = {}

    def stretch(number: int) -> int:
        return int((clock.times[number] - clock.times[0]) * fps + 1e-3)

    for place, group in groupby(range(len(clock.times)), key=stretch):
        numbers = list(group)
        found |= dict.fromkeys(numbers[:: max(1, len(numbers) // CANDIDATES)], place)
    return found


def _sharpest(path: Path, places: dict[int, int]) -> Iterator[tuple[int, Image.Image]]:
    """The sharpest frame of each place, with its number."""
    best: tuple[float, int, Image.Image] | None = None
    current = None
    for number, capture in enumerate(_grabbed(path)):
        if number not in places:
            continue
        if places[number] != current and best is not None:
            yield best[1], best[2]
            best = None
        current = places[number]
        frame = _decoded(capture, path, number)
        sharpness = thumbnail(np.asarray(frame)).sharpness
        if best is None or sharpness > best[0]:
            best = (sharpness, number, frame)
    if best is not None:
        yield best[1], best[2]


def _grabbed(path: Path) -> Iterator[cv2.VideoCapture]:
    """Go through a video; at each step the capture stands on the next frame."""
    if not path.is_file():
        raise InputError(f"{path}: does not exist or is no file; it must be one: check the path")
    capture = cv2.VideoCapture(str(path.absolute()))  # of 12:30.mp4 it would take 12 for a protocol
    try:
        if not capture.isOpened():
            raise InputError(
                f"{path}: is no video that OpenCV can read; it is broken, or its codec "
                "is not known here: convert it to H.264"
            )
        while capture.grab():
            yield capture
    finally:
        capture.release()


def _decoded(capture: cv2.VideoCapture, path: Path, number: int) -> Image.Image:
    done, pixels = capture.retrieve()
    if not done:
        raise InputError(
            f"{path}: frame {number} cannot be decoded; those asked for must be whole: give "
            "another video, or photos"
        )
    return Image.fromarray(pixels[:, :, ::-1].copy())
