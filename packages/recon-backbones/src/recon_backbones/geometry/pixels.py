"""How processed pixels relate to those of the photo, and the way back for depth and intrinsics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from recon_backbones.blocks.precision import at_least_float32

Pixels = UInt8[np.ndarray, "_ _ _"]  # height, width, channels (3, or 4 with transparency)


@dataclass(frozen=True, kw_only=True)
class PixelMap:
    """An axis-wise map from a photo to its processed image: x' = scale_x * x + shift_x, and y.

    Coordinates are continuous, 0 at the outer edge of the first pixel. Sizes are (height, width);
    `photo` is the size of the upright photo, `size` that of the processed image.
    """

    photo: tuple[int, int]
    size: tuple[int, int]
    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def resized(self, size: tuple[int, int]) -> "PixelMap":
        """The map after resampling the whole processed image to `size`."""
        y, x = size[0] / self.size[0], size[1] / self.size[1]
        return PixelMap(
            photo=self.photo,
            size=size,
            scale_x=self.scale_x * x,
            scale_y=self.scale_y * y,
            shift_x=self.shift_x * x,
            shift_y=self.shift_y * y,
        )

    def moved(self, left: int, top: int, size: tuple[int, int]) -> "PixelMap":
        """The map after padding by (left, top), or cropping where negative, to `size`."""
        return PixelMap(
            photo=self.photo,
            size=size,
            scale_x=self.scale_x,
            scale_y=self.scale_y,
            shift_x=self.shift_x + left,
            shift_y=self.shift_y + top,
        )

    def intrinsics_from_photo(
        self, intrinsics: Float[Tensor, "*batch 3 3"]
    ) -> Float[Tensor, "*batch 3 3"]:
        """Intrinsics of the photo to those of the processed image."""
        wide = at_least_float32(intrinsics)
        return (self._matrix(wide) @ wide).to(intrinsics.dtype)

    def intrinsics_to_photo(
        self, intrinsics: Float[Tensor, "*batch 3 3"]
    ) -> Float[Tensor, "*batch 3 3"]:
        """Intrinsics of the processed image to those of the photo."""
        wide = at_least_float32(intrinsics)
        inverse: Tensor = torch.linalg.inv(self._matrix(wide))
        return (inverse @ wide).to(intrinsics.dtype)

    def depth_to_photo(self, depth: Float[Tensor, "y x"]) -> Float[Tensor, "Y X"]:
        """Resample depth, or any map, to the photo's pixels; NaN where the network saw nothing.

        Each photo pixel takes the value at its center, bilinearly between processed pixels.
        """
        if tuple(depth.shape) != self.size:
            raise ValueError(
                f"depth has size {tuple(depth.shape)}; it must be this photo's, {self.size}: "
                "give that of the same view"
            )
        wide = at_least_float32(depth)  # 16 bits do not count the pixels of a photo
        x = self._centers(self.photo[1], self.scale_x, self.shift_x, wide)
        y = self._centers(self.photo[0], self.scale_y, self.shift_y, wide)
        height, width = self.size
        inside = ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))
        across = (2 * x / width - 1).expand(len(y), -1)
        down = (2 * y / height - 1)[:, None].expand(-1, len(x))
        grid = torch.stack((across, down), dim=-1)
        sampled = F.grid_sample(
            wide[None, None],
            grid[None],
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )[0, 0]
        return sampled.masked_fill(~inside, float("nan")).to(depth.dtype)

    def seen(self) -> tuple[int, int, int, int]:
        """Box (top, left, bottom, right) of processed pixels that show the photo, not padding."""
        left, right = self.shift_x, self.shift_x + self.scale_x * self.photo[1]
        top, bottom = self.shift_y, self.shift_y + self.scale_y * self.photo[0]
        height, width = self.size
        return (
            max(0, round(top)),
            max(0, round(left)),
            min(height, round(bottom)),
            min(width, round(right)),
        )

    def seen_pixels(self) -> Bool[np.ndarray, "y x"]:
        """The inside of that box, as a mask."""
        top, left, bottom, right = self.seen()
        mask = np.zeros(self.size, dtype=bool)
        mask[top:bottom, left:right] = True
        return mask

    def _matrix(self, like: Tensor) -> Tensor:
        rows = (
            (self.scale_x, 0.0, self.shift_x),
            (0.0, self.scale_y, self.shift_y),
            (0.0, 0.0, 1.0),
        )
        return torch.tensor(rows, dtype=like.dtype, device=like.device)

    @staticmethod
    def _centers(count: int, scale: float, shift: float, like: Tensor) -> Tensor:
        at = torch.arange(count, dtype=like.dtype, device=like.device) + 0.5
        return at * scale + shift


Processed = tuple[Pixels, PixelMap]
# A way to bring upright 8-bit photos of any sizes to one size, with the map of each.
Preprocess = Callable[[Sequence[Pixels]], list[Processed]]
