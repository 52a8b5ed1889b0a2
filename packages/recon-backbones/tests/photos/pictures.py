"""A picture that photos of every kind show."""

import numpy as np
from PIL import Image

ORANGE = (200, 120, 40)


def picture(seed: int, size: tuple[int, int] = (96, 64), *, sharp: bool = False) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
    return Image.fromarray(coarse).resize(size, how)
