"""Real lengths: a reconstruction in meters, by one known distance or by a metric network."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from recon_backbones.da3.single import MonoDepthAnything3
from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.metric import to_metric
from recon_backbones.prediction import Prediction
from recon_backbones.reconstruction import Reconstruction

PIXEL = re.compile(r"(.+):(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)")
AROUND = 1  # pixels on each side whose median depth is taken


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a known distance: where a photo was taken, or what one of its pixels shows.

    - `pixel`: x and y in the upright photo at its own size, None for the camera itself.
    """

    photo: str
    pixel: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class KnownDistance:
    """A distance in the world that the user knows."""

    first: End
    second: End
    meters: float

    def __post_init__(self) -> None:
        if not 0 < self.meters < 1e9:
            raise InputError(
                f"meters={self.meters}; it must be positive: give the distance as it was measured"
            )
        if self.first == self.second:
            raise InputError(
                "first and second are one and the same end; a distance has two: name another"
            )

    @classmethod
    def between(cls, first: str, second: str, meters: float) -> "KnownDistance":
        """The distance between two ends in words, each as `parse_end` reads it."""
        return cls(first=parse_end(first), second=parse_end(second), meters=meters)


def parse_end(text: str) -> End:
    """Read an end: PHOTO for its camera, PHOTO:X,Y for what the pixel shows."""
    found = PIXEL.fullmatch(text)
    if found is None:
        return End(photo=text)
    return End(photo=found[1], pixel=(float(found[2]), float(found[3])))


def check_ends(known: KnownDistance, names: Sequence[str], maps: Sequence[PixelMap]) -> None:
    """Raise InputError for an end that lies in none of the photos, whose name fits several, or that
    is cut off for the network.

    - `names`, `maps`: of the photos, in the order of the views.
    """
    for end in (known.first, known.second):
        mapping = maps[_view(end.photo, names)]
        if end.pixel is None:
            continue
        (height, width), (x, y) = mapping.photo, end.pixel
        if not (x <= width and y <= height):
            raise InputError(
                f"pixel {end.pixel} of {end.photo} lies outside of the photo, which has {width} x "
                f"{height}; it must be inside: give x and y in the upright photo"
            )
        across, down = x * mapping.scale_x + mapping.shift_x, y * mapping.scale_y + mapping.shift_y
        _check_seen(end, across, down, mapping.size)


def in_known_unit(made: Reconstruction, known: KnownDistance) -> Reconstruction:
    """The same in meters, in which the known distance is as it was measured.

    Raises InputError as `scale_from_distance` does.
    """
    factor = scale_from_distance(known, made)
    unit = f"meters, from the known distance (times {factor:.4g})"
    facts = tuple((name, unit if name == "unit" else told) for name, told in made.facts)
    return replace(made.scaled(factor), unit=unit, facts=facts)


def scale_from_distance(known: KnownDistance, made: Reconstruction) -> float:
    """Meters per unit of a reconstruction.

    Raises InputError when a photo is not among its photos or its name fits several, when a pixel
    was not seen or has no depth, and when the two ends lie in one place.
    """
    first, second = (_position(end, made) for end in (known.first, known.second))
    distance = float(np.linalg.norm(first - second))
    if not distance > 1e-6 * float(np.median(made.depth[made.depth > 0])):
        raise InputError(
            f"{known.first.photo} and {known.second.photo} lie in one place of the "
            "reconstruction; their distance gives no scale: name two ends that are apart"
        )
    return known.meters / distance


def metric_by_network(
    prediction: Prediction,
    images: Float[Tensor, "v 3 y x"],
    network: MonoDepthAnything3,
    *,
    advance: Callable[[], object] = lambda: None,
) -> Prediction:
    """The scene in meters, and its sky, by a network that sees metric depth in single views.

    Views go through it one by one. Raises InputError for a network whose depth is not metric,
    and where too little of the scene is sure and no sky.
    """
    focal = network.config.canonical_focal
    if focal is None:
        raise InputError(
            f"{network.name} sees no metric depth; its numbers have no unit: take a metric backbone"
        )
    device = next(network.parameters()).device
    seen = []
    for image in images:
        with torch.inference_mode():
            seen.append(network.internals(image[None, None].to(device)))
        advance()
    depth, sky = (torch.cat([getattr(s, n).cpu() for s in seen], dim=1) for n in ("depth", "sky"))
    return to_metric(prediction, depth.float(), sky.float(), canonical_focal=focal)


def _position(end: End, made: Reconstruction) -> Float64[np.ndarray, "3"]:
    view = _view(end.photo, made.photos)
    rotation, translation = np.split(made.world_to_camera[view], [3], axis=1)
    if end.pixel is None:
        return np.asarray(-rotation.T @ translation[:, 0])
    ray = np.linalg.inv(made.intrinsics[view]) @ [*end.pixel, 1.0]
    seen = made.intrinsics_seen[view] @ ray
    depth = _depth_at(end, made.depth[view].astype(np.float64), seen[:2] / seen[2])
    return np.asarray(rotation.T @ (ray * depth - translation[:, 0]))


def _view(photo: str, names: Sequence[str]) -> int:
    fits = [i for i, name in enumerate(names) if name == photo]
    fits = fits or [i for i, name in enumerate(names) if name.rpartition("/")[2] == photo]
    if len(fits) != 1:
        known = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        what = "is none of the photos" if not fits else "is the name of several photos"
        raise InputError(f"{photo} {what}; photos are {known}: write PHOTO or PHOTO:X,Y")
    return fits[0]


def _check_seen(end: End, x: float, y: float, size: tuple[int, int]) -> None:
    height, width = size
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"pixel {end.pixel} of {end.photo} lies outside of what the network saw; it "
            "must be inside: choose one nearer the middle"
        )


def _depth_at(end: End, depth: np.ndarray, pixel: np.ndarray) -> float:
    height, width = depth.shape
    x, y = int(np.floor(pixel[0])), int(np.floor(pixel[1]))
    _check_seen(end, float(x), float(y), (height, width))
    near = depth[max(0, y - AROUND) : y + AROUND + 1, max(0, x - AROUND) : x + AROUND + 1]
    known = near[np.isfinite(near) & (near > 0)]
    if not len(known):
        raise InputError(
            f"pixel {end.pixel} of {end.photo} has no depth; an end needs one: choose another"
        )
    return float(np.median(known))
