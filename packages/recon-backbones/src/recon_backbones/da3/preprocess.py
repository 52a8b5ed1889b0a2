"""Photos as Depth Anything 3 reads them: OpenCV resampling to multiples of the patch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap, Pixels, Processed


@dataclass(frozen=True, kw_only=True)
class DA3Preprocess:
    """Resize, keeping the aspect, then fit both sides to the patch size; crop all to the smallest.

    "upper_bound" makes the longest side `size`, "lower_bound" the shortest. "_resize" then
    resamples each side to the nearest multiple of the patch (ties up), "_crop" crops the center to
    the multiple below. Transparency is ignored. Raises InputError for a size below a patch.
    """

    size: int = 504
    method: Literal[
        "upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"
    ] = "upper_bound_resize"
    patch_size: int = 14

    def __post_init__(self) -> None:
        if self.size < self.patch_size:
            raise InputError(
                f"size={self.size}; it must be at least patch_size={self.patch_size}: use a "
                "larger size"
            )

    def __call__(self, photos: Sequence[Pixels]) -> list[Processed]:
        """Process upright photos to one common size."""
        bound, fit = self.method.rsplit("_", 1)
        fitted = [self._bound(np.ascontiguousarray(photo[..., :3]), bound) for photo in photos]
        done = [self._resize(*p) if fit == "resize" else self._crop(*p) for p in fitted]
        height = min(image.shape[0] for image, _ in done)
        width = min(image.shape[1] for image, _ in done)
        return [center_crop(image, mapping, (height, width)) for image, mapping in done]

    def _bound(self, image: Pixels, bound: str) -> Processed:
        height, width = image.shape[:2]
        mapping = PixelMap(photo=(height, width), size=(height, width))
        side = max(height, width) if bound == "upper_bound" else min(height, width)
        scale = self.size / side
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return _resample(image, mapping, size, grows=scale > 1)

    def _resize(self, image: Pixels, mapping: PixelMap) -> Processed:
        height, width = (self._nearest(side) for side in image.shape[:2])
        grows = height > image.shape[0] or width > image.shape[1]
        return _resample(image, mapping, (height, width), grows=grows)

    def _crop(self, image: Pixels, mapping: PixelMap) -> Processed:
        height, width = (self._floor(side) for side in image.shape[:2])
        return center_crop(image, mapping, (height, width))

    def _nearest(self, side: int) -> int:
        return max(
            self.patch_size, (side + self.patch_size // 2) // self.patch_size * self.patch_size
        )

    def _floor(self, side: int) -> int:
        if side < self.patch_size:
            raise InputError(
                f"a side of {side} pixels is less than a patch; it must hold one: use a larger size"
            )
        return side // self.patch_size * self.patch_size


def center_crop(image: Pixels, mapping: PixelMap, size: tuple[int, int]) -> Processed:
    """Cut the center out, half a pixel up and left where the margin is odd."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[:2], size, strict=True))
    cut = image[top : top + size[0], left : left + size[1]]
    return cut, mapping.moved(-left, -top, size)


def _resample(image: Pixels, mapping: PixelMap, size: tuple[int, int], *, grows: bool) -> Processed:
    if size == image.shape[:2]:
        return image, mapping
    how = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return cv2.resize(image, (size[1], size[0]), interpolation=how), mapping.resized(size)
