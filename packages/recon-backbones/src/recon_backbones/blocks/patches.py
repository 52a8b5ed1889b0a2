"""From images to patch tokens, and the resampling of stored position tables."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalize(images: Float[Tensor, "*batch 3 y x"]) -> Float[Tensor, "*batch 3 y x"]:
    """Take images in [0, 1] to zero mean and unit variance over ImageNet."""
    return (images - _channels(IMAGENET_MEAN, images)) / _channels(IMAGENET_STD, images)


def _channels(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "3 1 1"]:
    """Numbers on the device of a tensor, without a copy from the host, which no graph can hold."""
    return torch.cat([like.new_full((1, 1, 1), value) for value in values])


class PatchEmbed(nn.Module):
    """Cut an image into square patches and project each to a token, in raster order."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b n c"]:
        """Return one token per patch."""
        return rearrange(self.proj(images), "b c y x -> b (y x) c")


def resize_positions(
    table: Float[Tensor, "1 n c"], grid: tuple[int, int], *, by: Literal["size", "offset_scale"]
) -> Float[Tensor, "1 m c"]:
    """Resample a position table (one class row, then a square grid) to another patch grid.

    "size" resamples bicubically with antialiasing to the size of the grid (VGGT). "offset_scale"
    resamples without antialiasing by the factors (cells + 0.1) / side, the factors themselves
    entering the kernel (DINOv2, Depth Anything 3). A square grid of the stored size is left alone.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return table
    square = rearrange(table[:, 1:].float(), "1 (y x) c -> 1 c y x", y=side)
    if by == "size":
        patches = F.interpolate(
            square, size=grid, mode="bicubic", align_corners=False, antialias=True
        )
    else:
        factors = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
        patches = F.interpolate(square, scale_factor=factors, mode="bicubic", align_corners=False)
    patches = rearrange(patches, "1 c y x -> 1 (y x) c").to(table.dtype)
    return torch.cat((table[:, :1], patches), dim=1)


def embed_patches(
    patches: Float[Tensor, "b n c"],
    positions: Float[Tensor, "1 m c"],
    special: Float[Tensor, "1 s c"],
    order: Int64[Tensor, " n"] | None,
) -> Float[Tensor, "b t c"]:
    """Add positions (the class row is left out), bring patches into order, special tokens first."""
    patches = patches + positions[:, 1:]
    if order is not None:
        patches = patches[:, order]
    return torch.cat((special.expand(len(patches), -1, -1), patches), dim=1)
