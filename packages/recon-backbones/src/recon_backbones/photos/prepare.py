"""The one call from photos to a backbone's input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.backbone import Backbone
from recon_backbones.geometry.pixels import PixelMap, Preprocess
from recon_backbones.photos.decode import Photo, read_photos


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One scene of views, ready for a backbone, with the way back to each photo's pixels."""

    images: Float[Tensor, "1 v 3 y x"]
    maps: tuple[PixelMap, ...]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each upright photo."""
        return tuple((m.photo[1], m.photo[0]) for m in self.maps)

    def seen(self) -> Bool[np.ndarray, "v y x"]:
        """False where an image shows padding and no photo."""
        return np.stack([m.seen_pixels() for m in self.maps])

    def intrinsics_from_photos(
        self, intrinsics: Float[Tensor, "v 3 3"]
    ) -> Float[Tensor, "1 v 3 3"]:
        """Intrinsics of the photos to those of the processed images."""
        pairs = zip(self.maps, intrinsics, strict=True)
        return torch.stack([m.intrinsics_from_photo(k) for m, k in pairs])[None]

    def intrinsics_to_photos(self, intrinsics: Float[Tensor, "1 v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Intrinsics of the processed images to those of the photos."""
        pairs = zip(self.maps, intrinsics[0], strict=True)
        return torch.stack([m.intrinsics_to_photo(k) for m, k in pairs])

    def depth_to_photos(self, depth: Float[Tensor, "1 v y x"]) -> list[Float[Tensor, "Y X"]]:
        """Depth at each photo's own size; NaN where the network saw nothing."""
        return [m.depth_to_photo(d) for m, d in zip(self.maps, depth[0], strict=True)]


def preprocess(
    photos: Sequence[Photo],
    backbone: Backbone,
    *,
    size: int | None = None,
    method: Preprocess | None = None,
) -> Prepared:
    """Read photos and bring them to what a backbone takes, aspect ratios kept.

    Paths, Pillow images and uint8 arrays may be mixed; EXIF orientation is applied. Without
    `method` the family's own way is used: Depth Anything 3 crops unequal photos to the smallest,
    VGGT pads them with white. `size` is its side in pixels (default 504 and 518).

    Raises ValueError for an empty list, for a photo that cannot be read (named), or for `size`
    together with `method`.
    """
    if method is not None and size is not None:
        raise ValueError(
            f"size={size}; it must be left out beside method: set it inside the method"
        )
    done = (method or backbone.preprocessing(size))(read_photos(photos))
    stacked = torch.from_numpy(np.stack([image for image, _ in done]))
    images = rearrange(stacked, "v y x c -> v c y x").contiguous().float() / 255
    return Prepared(images=images[None], maps=tuple(mapping for _, mapping in done))
