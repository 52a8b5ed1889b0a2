"""Photos as VGGT reads them: Pillow's bicubic resampling to a fixed width or a square."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap, Pixels, Processed


@dataclass(frozen=True, kw_only=True)
class VggtPreprocess:
    """Resize, keeping the aspect, and crop or pad; transparency shows white.

    "crop" makes the width `size` and crops the height's center to at most `size`. "pad" makes the
    longest side `size` and pads the other with white. "square" pads the photo with black to a
    square first. Unequal results are padded with white to the largest. Raises InputError for a size
    that is no multiple of the patch, but for "square".
    """

    size: int = 518
    mode: Literal["crop", "pad", "square"] = "crop"
    patch_size: int = 14

    def __post_init__(self) -> None:
        if self.size < self.patch_size or (self.mode != "square" and self.size % self.patch_size):
            raise InputError(
                f"size={self.size}; it must be a positive multiple of {self.patch_size}: "
                "518 is usual"
            )

    def __call__(self, photos: Sequence[Pixels]) -> list[Processed]:
        """Process upright photos to one common size."""
        one = {"crop": self._crop, "pad": self._pad, "square": self._square}[self.mode]
        done = [one(_on_white(photo)) for photo in photos]
        size = tuple(max(image.shape[axis] for image, _ in done) for axis in (0, 1))
        return [_centered(image, mapping, (size[0], size[1]), 255) for image, mapping in done]

    def _crop(self, image: Pixels) -> Processed:
        height, width = image.shape[:2]
        image, mapping = _resample(image, _whole(image), (self._multiple(height, width), self.size))
        if image.shape[0] <= self.size:
            return image, mapping
        top = (image.shape[0] - self.size) // 2
        return image[top : top + self.size], mapping.moved(0, -top, (self.size, self.size))

    def _pad(self, image: Pixels) -> Processed:
        height, width = image.shape[:2]
        if width >= height:
            size = (self._multiple(height, width), self.size)
        else:
            size = (self.size, self._multiple(width, height))
        image, mapping = _resample(image, _whole(image), size)
        return _centered(image, mapping, (self.size, self.size), 255)

    def _square(self, image: Pixels) -> Processed:
        side = max(image.shape[:2])
        image, mapping = _centered(image, _whole(image), (side, side), 0)
        return _resample(image, mapping, (self.size, self.size))

    def _multiple(self, side: int, other: int) -> int:
        """Round a side to the patch grid, scaled so that the other becomes `size`."""
        patches = round(side * (self.size / other) / self.patch_size)
        return max(1, patches) * self.patch_size


def _on_white(photo: Pixels) -> Pixels:
    if photo.shape[2] == 3:
        return photo
    image = Image.fromarray(photo, mode="RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def _whole(image: Pixels) -> PixelMap:
    size = (image.shape[0], image.shape[1])
    return PixelMap(photo=size, size=size)


def _resample(image: Pixels, mapping: PixelMap, size: tuple[int, int]) -> Processed:
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized), mapping.resized(size)


def _centered(image: Pixels, mapping: PixelMap, size: tuple[int, int], value: int) -> Processed:
    """Pad to `size`, the odd pixel below and to the right."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image, mapping
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padded = np.full((*size, 3), value, dtype=np.uint8)
    padded[top : top + height, left : left + width] = image
    return padded, mapping.moved(left, top, size)
