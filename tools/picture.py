"""Draw the picture of the README: a photo, its depth, and the scene from above, of a real run.

lite3r reconstruct PHOTOS --out garden
python tools/picture.py garden docs/what-comes-out.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from recon_eval.pages.pictures import depth_picture, depth_range
from recon_eval.reconstruction import (
    PointOptions,
    gather_points,
    read_archive,
    seen_from_above,
    upright,
)

HEIGHT, SHOWN, GAP = 220, 3, 8  # pixels, views, pixels


def main(folder: str, out: str) -> None:
    """Photos over their depth, beside the points from above."""
    views = read_archive(Path(folder) / "prediction.npz")
    chosen = [views[i] for i in np.linspace(0, len(views) - 1, SHOWN).round().astype(int)]
    near, far = depth_range(*(view.depth for view in chosen))
    rows = [
        [view.image for view in chosen],
        [depth_picture(view.depth, near, far) for view in chosen],
    ]
    tall = [[_to_height(picture) for picture in row] for row in rows]
    width = sum(p.width + GAP for p in tall[0])
    above = _above(views, 2 * HEIGHT + GAP)
    sheet = Image.new("RGB", (width + above.width, 2 * HEIGHT + GAP), "white")
    for number, row in enumerate(tall):
        left = 0
        for picture in row:
            sheet.paste(picture, (left, number * (HEIGHT + GAP)))
            left += picture.width + GAP
    sheet.paste(above, (width, 0))
    sheet.save(out, quality=85, optimize=True)


def _to_height(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT))


def _above(views: list, side: int) -> Image.Image:
    cloud = gather_points(views, PointOptions())
    flat = cloud.points @ upright(views)[[0, 2]].T
    low, high = np.percentile(flat, [2, 98], axis=0)
    pixels = (flat - low) * (side / float((high - low).max()))
    picture = Image.fromarray(seen_from_above(cloud, pixels, side, side))
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


if __name__ == "__main__":
    main(*sys.argv[1:])
