"""Keypoints of a photo, to a fraction of a pixel.

Patch tokens of a network tell which places match, but only to a few pixels, and cameras are as
exact as their matches; SIFT finds corners and blobs to about a tenth of a pixel.
Source: Lowe, IJCV 60(2), 2004; square roots of descriptors: Arandjelovic and Zisserman, CVPR 2012.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

EDGE = 0.5  # from the corner of a pixel, where we count from, to its middle, where OpenCV does
SHIFT = 0.25  # by which OpenCV finds all too far right and down, as it doubles the image first


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """Places of one photo, and unit vectors by which they are known again.

    `xy` is in pixels of the whole photo, the middle of the first at 0.5; `pixel` is the size
    there of a pixel of what was looked at.
    """

    xy: Float64[Tensor, "k 2"]
    descriptors: Float32[Tensor, "k 128"]
    pixel: float

    def __len__(self) -> int:
        return len(self.xy)

    def where(self, kept: Bool[Tensor, "Y X"]) -> "Keypoints":
        """Those on pixels of the photo that are kept."""
        x, y = self.xy.long().unbind(1)
        on = kept[y.clamp(0, kept.shape[0] - 1), x.clamp(0, kept.shape[1] - 1)]
        return Keypoints(xy=self.xy[on], descriptors=self.descriptors[on], pixel=self.pixel)


def find_keypoints(
    image: UInt8[np.ndarray, "y x 3"], *, factor: float = 1.0, most: int = 4096
) -> Keypoints:
    """Find at most `most` keypoints, those of the highest contrast.

    - `factor`: how many pixels of the photo a pixel of `image` is.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT.create(  # precise upscaling needs no `SHIFT`, but finds a tenth fewer
        nfeatures=most, contrastThreshold=0.02, enable_precise_upscale=False
    )
    found, descriptors = sift.detectAndCompute(gray, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    xy = np.array([point.pt for point in found], np.float64).reshape(-1, 2)
    # one place with two directions: the first stays
    _, first = np.unique(xy.round(3), axis=0, return_index=True)
    first = np.sort(first)
    rooted = torch.from_numpy(descriptors[first]).clamp_min(0)
    rooted = (rooted / rooted.sum(dim=1, keepdim=True).clamp_min(1e-9)).sqrt()
    return Keypoints(
        xy=torch.from_numpy((xy[first] + EDGE - SHIFT) * factor), descriptors=rooted, pixel=factor
    )
