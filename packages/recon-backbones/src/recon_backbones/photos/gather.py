"""Everything that is known before the network runs: which photos, and which cameras they have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap, Preprocess
from recon_backbones.photos.choice import PhotoChoice
from recon_backbones.photos.decode import decode_photo
from recon_backbones.photos.files import common_folder, find_photos, is_video, straight
from recon_backbones.photos.given import GivenCamera
from recon_backbones.photos.select import Selection, select_views
from recon_backbones.photos.video import extract_frames
from recon_backbones.telling import Telling

LITTLE, HALF = 0.9, 0.5  # shares of photos that must be left unless it is said, or at all
SMALL = 64  # pixels: photos are decoded no larger than a check needs

# The camera of each of some photos, None for a photo that has none.
CamerasOf = Callable[[Sequence[Path]], Sequence[GivenCamera | None]]


@dataclass(frozen=True, kw_only=True)
class Photos:
    """The chosen photos of one scene, in order.

    - `root`: folder that all photos share; views are named by their paths below it.
    - `cameras`: one for each photo where they are given.
    - `facts`: what was decided, label and text, for people.
    """

    paths: tuple[Path, ...]
    root: Path
    cameras: tuple[GivenCamera, ...] | None
    facts: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the photos below `root`, with forward slashes."""
        return tuple(straight(path).relative_to(self.root).as_posix() for path in self.paths)

    def world_to_camera(self) -> Float64[Tensor, "v 3 4"] | None:
        """The given cameras' poses."""
        if self.cameras is None:
            return None
        return torch.stack([torch.from_numpy(c.world_to_camera.copy()) for c in self.cameras])

    def intrinsics(self, sizes: Sequence[tuple[int, int]]) -> Float64[Tensor, "v 3 3"] | None:
        """The given cameras' intrinsics, in pixels of photos of these sizes (width, height).

        Raises InputError when a photo has another shape than its camera's image.
        """
        if self.cameras is None:
            return None
        pairs = zip(self.cameras, sizes, strict=True)
        return torch.stack([torch.from_numpy(c.of_size(size).copy()) for c, size in pairs])


class _Facts:
    """Collects what was decided, and says it."""

    def __init__(self, telling: Telling) -> None:
        self.found: list[tuple[str, str]] = []
        self._telling = telling

    def left_out(self, reasons: Mapping[str, Sequence[Path]]) -> None:
        """Name photos that are not used, by reason."""
        for why, paths in reasons.items():
            if paths:
                names = ", ".join(path.name for path in paths[:3])
                more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
                self.found.append(("left out", f"{len(paths)} {why}: {names}{more}"))
                self._telling.say(f"left out, {why}: {names}{more}")


def gather(
    inputs: Sequence[str | Path],
    choice: PhotoChoice,
    frames: Path,
    *,
    cameras: CamerasOf | None,
    telling: Telling,
) -> Photos:
    """Find photos, or write the frames of a video into the folder `frames`; choose among them.

    Raises InputError or OSError for what cannot be used, naming it.
    """
    facts = _Facts(telling)
    paths = _named(inputs, choice, frames, facts, telling)
    known: dict[Path, GivenCamera] = {}
    if cameras is not None:
        found = dict(zip(paths, cameras(paths), strict=True))
        known = {path: camera for path, camera in found.items() if camera is not None}
        facts.left_out({"without a camera": [path for path in paths if path not in known]})
        paths = list(known)
    if choice.skip_broken:
        paths = _whole(paths, facts, telling)
    selection = _selected(paths, choice, telling)
    facts.left_out(selection.left_out)
    if not selection.paths:
        raise InputError("no photo is left; at least 1 is needed: give others, or leave fewer out")
    if len(selection.paths) == 1:
        facts.found.append(("views", "one photo: depth and intrinsics, and no pose to know"))
        telling.say(
            "one photo gives depth, intrinsics and points; there is no pose to know, which takes "
            "two photos of the same scene"
        )
    return Photos(
        paths=selection.paths,
        root=common_folder(selection.paths),
        cameras=tuple(known[path] for path in selection.paths) if known else None,
        facts=tuple(facts.found),
    )


def named_photos(inputs: Sequence[str | Path], choice: PhotoChoice) -> list[Path]:
    """The photos that the inputs name, with those that are left out only once they are read."""
    how = {"recursive": choice.recursive, "broken": choice.skip_broken}
    return find_photos(inputs, at_least=1, **how)


def check_cut(
    paths: Sequence[Path], maps: Sequence[PixelMap], method: Preprocess, telling: Telling
) -> None:
    """Say how much is left of photos that are cut to one shape, and which of them decide it.

    - `maps`, `method`: of the photos as they were decoded, and what made them.

    Raises InputError where a single photo costs the others more than half of what they show.
    """
    left = [_shown(one) for one in maps]
    if min(left) >= LITTLE:
        return
    deciding: list[list[Path]] = []
    for axis in (0, 1):
        few = [i for i, one in enumerate(maps) if _sides(one)[axis] < one.size[axis] + 0.5]
        kept = _kept_beside(few, maps, method)
        if len(few) == 1 and kept < HALF:
            raise InputError(
                f"{paths[few[0]]}: leaves {kept:.0%} of what the other photos show, as all are cut "
                "to one shape; a photo must leave them half: leave it out, or cut it to their shape"
            )
        if kept < LITTLE:
            deciding.append([paths[i] for i in few])
    if len({one.photo for one in maps}) == 1:
        telling.say(f"the network sees the middle of each photo, {min(left):.0%} of it")
        return
    shares = list(dict.fromkeys(f"{share:.0%}" for share in (min(left), max(left))))
    much = f"from {' to '.join(shares)}" if len(shares) > 1 else shares[0]
    telling.say(f"photos are cut to one shape: {much} of each is left{_by(deciding)}")


def _by(deciding: Sequence[Sequence[Path]]) -> str:
    """The fewest photos that decide a shape."""
    if not deciding:
        return ""
    few = min(deciding, key=len)
    more = f" and {len(few) - 3} more" if len(few) > 3 else ""
    names = ", ".join(path.name for path in few[:3])
    return f", as {names}{more} {'has' if len(few) == 1 else 'have'} another shape"


def _kept_beside(few: Sequence[int], maps: Sequence[PixelMap], method: Preprocess) -> float:
    """What is left of the photos but a few, over what would be left of them without these."""
    others = [one for i, one in enumerate(maps) if i not in few]
    if not few or not others:
        return 1.0
    shapes = {_aspect(one): one.photo for one in others}  # one of each will do
    alone = method([np.zeros((*shape, 3), np.uint8) for shape in shapes.values()])
    without = dict(zip(shapes, (_shown(one) for _, one in alone), strict=True))
    return sum(map(_shown, others)) / sum(without[_aspect(one)] for one in others)


def _aspect(one: PixelMap) -> float:
    """Height over width of a photo, to a hundredth."""
    return round(one.photo[0] / one.photo[1], 2)


def _shown(one: PixelMap) -> float:
    """The share of a photo that is in its processed image."""
    top, left, bottom, right = one.seen()
    height, width = _sides(one)
    return (bottom - top) * (right - left) / (height * width)


def _sides(one: PixelMap) -> tuple[float, float]:
    """Height and width of the whole photo in processed pixels."""
    return one.scale_y * one.photo[0], one.scale_x * one.photo[1]


def _whole(paths: Sequence[Path], facts: _Facts, telling: Telling) -> list[Path]:
    """The photos that can be decoded; the others are named."""
    broken = []
    with telling.progress("checking photos", len(paths)) as advance:
        for path in paths:
            try:
                decode_photo(path, at_least=SMALL)
            except InputError as error:
                broken.append(path)
                telling.say(f"left out: {error}")
            advance()
    facts.left_out({"broken": broken})
    return [path for path in paths if path not in broken]


def _selected(paths: Sequence[Path], choice: PhotoChoice, telling: Telling) -> Selection:
    """Choose among the photos; they are looked at only where something is to be chosen."""
    few = choice.max_views is None or len(paths) <= choice.max_views
    if few and not choice.drop_blurred:
        return select_views(paths, max_views=None)
    with telling.progress("looking at photos", len(paths)) as advance:
        return select_views(
            paths,
            max_views=choice.max_views,
            drop_blurred=choice.drop_blurred,
            advance=advance,
        )


def _named(
    inputs: Sequence[str | Path], choice: PhotoChoice, frames: Path, facts: _Facts, telling: Telling
) -> list[Path]:
    """The photos that the inputs name, or the frames of the one video among them."""
    videos = [Path(given) for given in inputs if is_video(Path(given)) and Path(given).is_file()]
    if not videos:
        photos = named_photos(inputs, choice)
        if choice.fps is not None or choice.frames is not None:
            raise InputError(
                "fps or frames without a video; they choose its frames: for photos there "
                "is max_views"
            )
        return photos
    if len(inputs) > 1:
        raise InputError(
            f"{videos[0]} is a video; it makes a scene by itself: give it alone, or only photos"
        )
    telling.say(f"reading {videos[0]} ...")
    taken = extract_frames(videos[0], frames, choice, telling=telling)
    facts.found.append(
        ("video", f"{len(taken)} frames of {videos[0].name}, each the sharpest nearby")
    )
    telling.say(f"took {len(taken)} frames, each the sharpest of its stretch")
    return taken
