"""Square pixels, and one camera for all photos: focal lengths that move the points least.

A network guesses a camera for each view, with a focal length along either side. Cameras have square
pixels, so both are guesses of one number. A camera of one focal length must send each pixel along
nearly the ray that the network saw it on, weighted by confidence: squared distances of rays, times
depth, are those by which its points move, so pixels near the middle, which say little, count
little, and of two focal lengths that disagree the one along the longer side counts more.

Of photos by one camera, each view's number is a measurement of one. Between views the errors are of
another kind: one that sees a bare wall may be wrong by half, so the shared value is the median of
logarithms, weighted by each view's confidence, and no mean.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from recon_backbones.geometry.cameras import pinhole
from recon_backbones.geometry.pixels import PixelMap

APART = 1.25  # focal lengths of two sizes that differ by more are hardly of one camera


@dataclass(frozen=True, kw_only=True)
class OneCamera:
    """One focal length, square pixels, the principal point in the middle of each photo.

    - `focal`: in pixels of the photos.
    - `single`: what each view says by itself.
    - `intrinsics`: in pixels of each photo; photos of one size have the same.
    - `sizes`: width and height of each photo.
    """

    focal: float
    single: Float64[Tensor, " v"]
    intrinsics: Float64[Tensor, "v 3 3"]
    sizes: tuple[tuple[int, int], ...]

    def describe(self) -> str:
        """What was found, for people."""
        least, most = float(self.single.min()), float(self.single.max())
        count = len(set(self.sizes))
        each = "" if count == 1 else f", {count} sizes of photos"
        return (
            f"one for all photos: focal length {self.focal:.5g} pixels (single views say "
            f"{least:.4g} to {most:.4g}){each}"
        )

    def doubt(self) -> str | None:
        """A sentence when photos of different sizes seem to be no photos by one camera."""
        groups: dict[tuple[int, int], list[float]] = {}
        for (width, height), focal in zip(self.sizes, self.single.tolist(), strict=True):
            groups.setdefault((max(width, height), min(width, height)), []).append(focal)
        middle = {size: statistics.median(own) for size, own in groups.items()}
        small, large = min(middle, key=middle.__getitem__), max(middle, key=middle.__getitem__)
        if middle[large] <= APART * middle[small]:
            return None
        return (
            f"photos of {small[0]} x {small[1]} pixels look as if by a focal length of "
            f"{middle[small]:.4g} pixels, those of {large[0]} x {large[1]} by {middle[large]:.4g}: "
            "one camera fits both only if none of them was resized or zoomed"
        )


def fit_square_pixels(
    intrinsics: Float[Tensor, "v 3 3"],
    confidence: Float[Tensor, "v y x"],
    maps: Sequence[PixelMap],
) -> Float64[Tensor, "v 3 3"]:
    """Each view's intrinsics with one focal length, in pixels of what the network saw.

    Where a photo was not resized alike along both sides, it is the photo whose pixels are square.
    Principal points stay. Arguments as of `fit_one_camera`.
    """
    square = intrinsics.double().clone()
    for k, c, pixels in zip(square, confidence.double(), maps, strict=True):
        at_x = (k[0, 2] - pixels.shift_x) / pixels.scale_x
        at_y = (k[1, 2] - pixels.shift_y) / pixels.scale_y
        focal, _ = _single(k, c, pixels, (at_x, at_y))
        k[0, 0], k[1, 1] = focal * pixels.scale_x, focal * pixels.scale_y
    return square


def fit_one_camera(
    intrinsics: Float[Tensor, "v 3 3"],
    confidence: Float[Tensor, "v y x"],
    maps: Sequence[PixelMap],
) -> OneCamera:
    """Fit one camera to those that a network saw, view by view.

    - `intrinsics`: in pixels of what the network saw.
    - `confidence`: positive, higher where surer; padding is left out.
    - `maps`: from each photo to what the network saw of it.
    """
    measured = [
        _single(k, c, m, (m.photo[1] / 2, m.photo[0] / 2))
        for k, c, m in zip(intrinsics.double(), confidence.double(), maps, strict=True)
    ]
    single = torch.stack([focal for focal, _ in measured])
    focal = weighted_median(single.log(), torch.stack([weight for _, weight in measured])).exp()
    sizes = tuple((m.photo[1], m.photo[0]) for m in maps)
    lenses = [pinhole(focal, focal, (height, width)) for width, height in sizes]
    return OneCamera(focal=float(focal), single=single, intrinsics=torch.stack(lenses), sizes=sizes)


def weighted_median(values: Float[Tensor, " n"], weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The value that minimizes the weighted sum of distances; the middle of two where both do."""
    order = values.argsort()
    below = weights[order].cumsum(0)
    half = below[-1] / 2
    first = int((below < half * (1 - 1e-12)).sum())
    second = int((below <= half * (1 + 1e-12)).sum())
    return values[order[[first, min(second, len(values) - 1)]]].mean()


def _single(
    k: Float64[Tensor, "3 3"],
    confidence: Float64[Tensor, "y x"],
    pixels: PixelMap,
    center: tuple[float | Tensor, float | Tensor],
) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
    """The focal length of one view in pixels of its photo, and the view's mean confidence.

    1 / f by least squares between the network's rays and pixels off the `center` (x, y) of the
    photo. Pixels whose confidence is no number do not count, or all alike where none is one.
    """
    seen = torch.from_numpy(pixels.seen_pixels())
    weight = torch.where(seen & confidence.isfinite(), confidence, 0)
    weight = weight if weight.any() else seen.double()
    u = torch.arange(weight.shape[1], dtype=torch.float64, device="cpu") + 0.5
    v = torch.arange(weight.shape[0], dtype=torch.float64, device="cpu") + 0.5
    off_x = (u - pixels.shift_x) / pixels.scale_x - center[0]
    off_y = (v - pixels.shift_y) / pixels.scale_y - center[1]
    ray_x, ray_y = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    across, down = einsum(weight, "y x -> x"), einsum(weight, "y x -> y")
    inverse = (across @ (off_x * ray_x) + down @ (off_y * ray_y)) / (
        across @ off_x.square() + down @ off_y.square()
    )
    return 1 / inverse, weight.sum() / weight.count_nonzero().clamp_min(1)
