"""Refine a reconstruction: its photos matched, its cameras adjusted, its depths in their unit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon_backbones.errors import InputError
from recon_backbones.machine.amounts import readable
from recon_backbones.machine.free import available
from recon_backbones.photos.decode import decode_photo
from recon_backbones.photos.masks import read_mask
from recon_backbones.reconstruction import Reconstruction, TrackedPoints
from recon_backbones.refine.bundle import A_PAIR
from recon_backbones.refine.depths import Ratios, fit_depth, places
from recon_backbones.refine.gauge import carried, in_frame_of, in_frame_of_all, spread_ratio
from recon_backbones.refine.grow import FEWEST, Views
from recon_backbones.refine.keypoints import Keypoints, find_keypoints
from recon_backbones.refine.matching import choose_pairs, match_all
from recon_backbones.refine.model import Cameras, errors
from recon_backbones.refine.options import Refinement
from recon_backbones.refine.solve import Solved, solve
from recon_backbones.refine.tracks import Tracks, join_matches
from recon_backbones.telling import SILENT, Telling

OPTIONS = Refinement()


def check_memory(photos: int) -> None:
    """Raise InputError where the cameras of so many photos cannot be adjusted in what is free.

    All of them are unknown at once, so memory grows with the pairs of photos.
    """
    needed, free = A_PAIR * photos**2, available("cpu")
    if needed > free:
        raise InputError(
            f"refine with {photos} photos; adjusting their cameras needs {readable(needed)} of "
            f"memory, and {readable(free)} are free: leave refine out, or take fewer photos"
        )


def refine_cameras(
    made: Reconstruction,
    options: Refinement = OPTIONS,
    *,
    given: bool = False,
    telling: Telling = SILENT,
) -> Reconstruction:
    """Move the cameras so that points which the photos share land where they are seen.

    - `made`: its photos are read again, from below its `root`.
    - `given`: the cameras' frame and unit were given; else the frame is that of the first view,
      and the unit that of depth.

    Where photos share too little, or nothing fits better than what there is, that is told and
    `made` comes back as it is but for `facts`. Raises InputError for a photo that cannot be read or
    has another size since, and as `check_memory` does.
    """
    check_memory(len(made))
    keypoints = _keypoints(made, options, telling)
    start = Cameras.of(torch.from_numpy(made.world_to_camera), torch.from_numpy(made.intrinsics))
    tracks = _tracks(keypoints, start, options, telling)
    together = tracks.joined(len(start), FEWEST)  # parts that share nothing have a unit each
    tracks = tracks.of(together[tracks.view])
    if int(together.sum()) < max(2, min(3, len(made))):
        return _unchanged(made, "photos share too few places; cameras are not refined", telling)
    views = Views(
        start=start,
        sizes=made.sizes,
        pixel=torch.tensor([found.pixel for found in keypoints], dtype=torch.float64, device="cpu"),
        focal=options.focal,
    )
    del keypoints  # two megabytes a photo, which nothing reads any more
    telling.say(f"adjusting cameras to {len(tracks):,} points that photos share ...")
    solved = solve(tracks, views)
    if not solved.better:
        return _unchanged(
            made, "nothing fits the photos better than the network's cameras; they stay", telling
        )
    told = _told(solved)
    telling.say(f"cameras refined: {told}")
    return _refined(made, solved, start, given=given, fact=("cameras refined", told))


def _keypoints(made: Reconstruction, options: Refinement, telling: Telling) -> list[Keypoints]:
    """Of each photo, none where its own mask ignores it."""
    found = []
    with telling.progress("looking for keypoints", len(made)) as advance:
        for view, name in enumerate(made.photos):
            photo = decode_photo(made.root / name, at_least=options.size)
            if photo.size != made.sizes[view]:
                raise InputError(
                    f"{name}: is {photo.size[0]} x {photo.size[1]} pixels; it must be the photo "
                    f"that was reconstructed, of {made.sizes[view][0]} x {made.sizes[view][1]}: "
                    "put it back, or reconstruct anew"
                )
            factor = float(photo.factor)
            keypoints = find_keypoints(photo.image, factor=factor, most=options.keypoints)
            if made.masks:
                kept = read_mask(made.masks[view], made.root / name)
                keypoints = keypoints.where(torch.from_numpy(kept))
            found.append(keypoints)
            advance()
    return found


def _tracks(
    keypoints: Sequence[Keypoints], start: Cameras, options: Refinement, telling: Telling
) -> Tracks:
    pairs = choose_pairs(start.world_to_camera, options.neighbors)
    with telling.progress("matching photos", len(pairs)) as advance:
        matches = match_all(keypoints, pairs, advance=advance)
    return join_matches([found.xy for found in keypoints], matches)


def _unchanged(made: Reconstruction, why: str, telling: Telling) -> Reconstruction:
    telling.say(why)
    return replace(made, facts=(*made.facts, ("cameras refined", f"no: {why}")))


def _told(solved: Solved) -> str:
    points = len(solved.tracks.of(solved.near))
    how = ", built anew from matches" if solved.anew else ""
    return (
        f"{int(solved.placed.sum())} of {len(solved.placed)} views by {points:,} points{how}; "
        f"median error {solved.median_before:.2f} to {solved.median_after:.2f} pixels"
    )


def _refined(
    made: Reconstruction, solved: Solved, start: Cameras, *, given: bool, fact: tuple[str, str]
) -> Reconstruction:
    """The reconstruction with new cameras, in the frame and unit that it had."""
    tracks = solved.tracks.of(solved.near)
    cameras = solved.cameras
    moved = in_frame_of_all(cameras, tracks, start, solved.placed) if given else None
    if moved is None:
        factor = None if given else Ratios.of(made, cameras, tracks).factor
        scale = 1 / factor if factor else spread_ratio(start, cameras, solved.placed)
        anchor = int(solved.placed.nonzero()[0, 0])
        moved = in_frame_of(cameras, tracks, start, scale, anchor)
    cameras, tracks = moved
    cameras = carried(cameras, start, solved.placed)
    if not given:
        cameras, tracks = in_frame_of(cameras, tracks, start, 1.0, 0)
    lenses = cameras.intrinsics
    pairs = zip(made.maps, lenses, strict=True)
    fitted, told = fit_depth(made, Ratios.of(made, cameras, tracks))
    return replace(
        fitted,
        world_to_camera=cameras.world_to_camera.numpy(),
        intrinsics=lenses.numpy(),
        intrinsics_seen=torch.stack([m.intrinsics_from_photo(k) for m, k in pairs]).numpy(),
        tracked=_tracked(made, cameras, tracks),
        facts=(*made.facts, fact, ("depth", told)),
    )


def _seen_at(made: Reconstruction, tracks: Tracks) -> tuple[Tensor, Tensor]:
    """Column and row of each observation in what the network saw."""
    size = torch.tensor(made.depth.shape[:0:-1], device="cpu")
    found = ((places(made, tracks) + 1) / 2 * size).floor().long()
    x, y = found.clamp_min(0).minimum(size - 1).unbind(1)
    return x, y


def _tracked(made: Reconstruction, cameras: Cameras, tracks: Tracks) -> TrackedPoints:
    """The points for files, in the colors of the first view that sees each."""
    x, y = _seen_at(made, tracks)
    counts = torch.bincount(tracks.point, minlength=len(tracks))
    first = counts.cumsum(0) - counts
    colors = made.images[tracks.view[first], y[first], x[first]]
    return TrackedPoints(
        points=tracks.points.numpy(),
        colors=np.ascontiguousarray(colors),
        view=tracks.view.numpy(),
        point=tracks.point.numpy(),
        xy=tracks.xy.numpy(),
        error=errors(cameras, tracks)[0].norm(dim=1).numpy(),
    )
