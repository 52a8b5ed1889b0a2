"""Everything that is known before the network runs: which photos, and which cameras they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from ..inputs import (
    KnownCamera,
    Selection,
    extract_frames,
    is_video,
    match_cameras,
    read_cameras,
    select_views,
)
from ..photos import common_folder, find_photos
from ..settings import InputOptions
from ..terminal import Terminal

FRAMES = "images"  # folder of the reconstruction for the frames of a video


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The views of a scene.

    root: folder that all photos share; views are named by their paths below it.
    cameras: one per photo where they are known. facts: what was decided, for people.
    """

    paths: tuple[Path, ...]
    root: Path
    cameras: tuple[KnownCamera, ...] | None
    facts: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        """Paths of the photos below `root`, with forward slashes."""
        return [path.absolute().relative_to(self.root).as_posix() for path in self.paths]

    def world_to_camera(self) -> Float64[Tensor, "v 3 4"] | None:
        """The known cameras' poses."""
        if self.cameras is None:
            return None
        return torch.stack([torch.from_numpy(c.world_to_camera.copy()) for c in self.cameras])

    def intrinsics(self, sizes: Sequence[tuple[int, int]]) -> Float64[Tensor, "v 3 3"] | None:
        """The known cameras' intrinsics, in pixels of photos of these sizes (width, height).

        Raises ValueError when a photo has another shape than its camera's image.
        """
        if self.cameras is None:
            return None
        pairs = zip(self.cameras, sizes, strict=True)
        return torch.stack([torch.from_numpy(c.of_size(size).copy()) for c, size in pairs])


def gather(
    inputs: Sequence[str], options: InputOptions, scratch: Path, terminal: Terminal
) -> Gathered:
    """Find photos, or write the frames of a video into `scratch`; select; match cameras.

    Raises ValueError or OSError for what cannot be used, naming it.
    """
    facts: list[tuple[str, str]] = []
    paths = _named(inputs, options, scratch, facts, terminal)
    known = None if options.cameras is None else read_cameras(options.cameras)
    if known is not None:
        matched = match_cameras(known, paths)
        paths = list(matched.paths)
        _tell_left_out({"without a camera": matched.without}, facts, terminal)
    selection = _selected(paths, options, terminal)
    _tell_left_out(selection.left_out, facts, terminal)
    if len(selection.paths) < 2:
        raise ValueError(
            f"{len(selection.paths)} photo is left of {len(paths)}; at least 2 different views "
            "of the scene are needed"
        )
    cameras = None
    if known is not None:
        cameras = match_cameras(known, selection.paths).cameras
        facts.append(("cameras", f"given by {known.source}"))
    return Gathered(
        paths=selection.paths,
        root=common_folder(selection.paths),
        cameras=cameras,
        facts=tuple(facts),
    )


def _selected(paths: Sequence[Path], options: InputOptions, terminal: Terminal) -> Selection:
    """Choose among the photos; they are looked at only where something is to be chosen."""
    few = options.max_views is None or len(paths) <= options.max_views
    if few and not options.drop_blurred:
        return select_views(paths, max_views=None)
    with terminal.progress("looking at photos", len(paths)) as advance:
        return select_views(
            paths,
            max_views=options.max_views,
            drop_blurred=options.drop_blurred,
            advance=advance,
        )


def _named(
    inputs: Sequence[str],
    options: InputOptions,
    scratch: Path,
    facts: list[tuple[str, str]],
    terminal: Terminal,
) -> list[Path]:
    """The photos that the inputs name, or the frames of the one video among them."""
    videos = [Path(given) for given in inputs if is_video(Path(given))]
    if not videos:
        if options.fps is not None or options.frames is not None:
            raise ValueError(
                "--fps and --frames choose frames of a video, and none is given; for photos there "
                "is --max-views"
            )
        return find_photos(inputs)
    if len(inputs) > 1:
        raise ValueError(f"{videos[0]} is a video; give it alone, or only photos")
    terminal.say(f"reading {videos[0]} ...")
    frames = extract_frames(videos[0], scratch / FRAMES, options)
    facts.append(("video", f"{len(frames)} frames of {videos[0].name}, each the sharpest nearby"))
    terminal.say(f"took {len(frames)} frames, each the sharpest of its stretch")
    return frames


def _tell_left_out(
    left_out: dict[str, tuple[Path, ...]], facts: list[tuple[str, str]], terminal: Terminal
) -> None:
    for why, paths in left_out.items():
        if paths:
            names = ", ".join(path.name for path in paths[:3])
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            facts.append(("left out", f"{len(paths)} {why}: {names}{more}"))
            terminal.say(f"left out, {why}: {names}{more}")
