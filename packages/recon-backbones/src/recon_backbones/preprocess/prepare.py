"""The one call from photos to a backbone's input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..backbone import Backbone
from .da3 import DA3Preprocess
from .mapping import PixelMap
from .photos import Photo, Pixels, read_photos
from .vggt import VggtPreprocess

# A way to bring upright 8-bit photos of any sizes to one size, with the map of each.
Preprocess = Callable[[Sequence[Pixels]], list[tuple[Pixels, PixelMap]]]


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
        raise ValueError(f"size {size} and method are both given; set the size inside the method")
    if method is None:
        method = _default(backbone, size)
    done = method(read_photos(photos))
    stacked = np.stack([image for image, _ in done])
    images = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().float() / 255
    return Prepared(images=images[None], maps=tuple(mapping for _, mapping in done))


def _default(backbone: Backbone, size: int | None) -> Preprocess:
    family = VggtPreprocess if backbone.family == "vggt" else DA3Preprocess
    start = family(patch_size=backbone.patch_size)
    return start if size is None else replace(start, size=size)
