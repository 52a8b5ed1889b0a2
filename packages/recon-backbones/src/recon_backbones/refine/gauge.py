"""The frame and the unit that cameras had before: matches alone tell neither."""

from dataclasses import replace

from jaxtyping import Bool, Float64
from torch import Tensor

from recon_backbones.geometry.alignment import umeyama
from recon_backbones.refine.model import Cameras
from recon_backbones.refine.tracks import Tracks


def in_frame_of(
    cameras: Cameras, tracks: Tracks, start: Cameras, scale: float, view: int
) -> tuple[Cameras, Tracks]:
    """Everything `scale` times as large, and one view where it was at the start."""
    turn = start.rotation[view].T @ cameras.rotation[view]
    shift = start.rotation[view].T @ (scale * cameras.translation[view] - start.translation[view])
    return _moved(cameras, tracks, scale, turn, shift)


def in_frame_of_all(
    cameras: Cameras, tracks: Tracks, start: Cameras, placed: Bool[Tensor, " v"]
) -> tuple[Cameras, Tracks] | None:
    """Centers nearest to those of the start; None where they lie on a line or in a place."""
    fit = umeyama(cameras.centers[placed], start.centers[placed])
    if fit.rank < 2:
        return None
    return _moved(cameras, tracks, float(fit.scale), fit.rotation, fit.translation)


def carried(cameras: Cameras, start: Cameras, placed: Bool[Tensor, " v"]) -> Cameras:
    """The views that were not placed move with the nearest that was, as one rigid body."""
    others = placed.nonzero()[:, 0]
    rotation, translation = cameras.rotation.clone(), cameras.translation.clone()
    for view in (~placed).nonzero()[:, 0].tolist():
        apart = (start.centers[others] - start.centers[view]).norm(dim=1)
        near = int(others[int(apart.argmin())])
        turn = start.rotation[view] @ start.rotation[near].T
        shift = start.translation[view] - turn @ start.translation[near]
        rotation[view] = turn @ cameras.rotation[near]
        translation[view] = turn @ cameras.translation[near] + shift
    return replace(cameras, rotation=rotation, translation=translation)


def spread_ratio(start: Cameras, cameras: Cameras, placed: Bool[Tensor, " v"]) -> float:
    """By which factor the start's centers lie further apart; 1 where all are in one place."""
    sizes = []
    for each in (start, cameras):
        centers = each.centers[placed]
        sizes.append(float((centers - centers.mean(dim=0)).norm()))
    return sizes[0] / sizes[1] if min(sizes) > 0 else 1.0


def _moved(
    cameras: Cameras,
    tracks: Tracks,
    scale: float,
    rotation: Float64[Tensor, "3 3"],
    translation: Float64[Tensor, "3"],
) -> tuple[Cameras, Tracks]:
    """The world mapped to scale * rotation @ p + translation."""
    turned = cameras.rotation @ rotation.T
    shifted = scale * cameras.translation - (turned @ translation)
    points = scale * tracks.points @ rotation.T + translation
    return replace(cameras, rotation=turned, translation=shifted), tracks.at(points)
