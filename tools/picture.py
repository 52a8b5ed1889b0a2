"""Draw the picture of the README: photos, their depth, and the points from nearby, of a real run.

lite3r reconstruct PHOTOS --model runs/da3-tiny --out garden
python tools/picture.py garden docs/what-comes-out.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from recon_eval.pages.pictures import depth_picture, depth_range
from recon_eval.reconstruction import PointOptions, View, gather_points, read_archive

HEIGHT, SHOWN, GAP = 220, 3, 8  # pixels, views, pixels
BACK, UP, DOT = 0.35, 0.15, 3  # shares of the depth of the middle view; pixels


def main(folder: str, out: str) -> None:
    """Photos over their depth, beside the points as seen from behind the middle camera."""
    views = read_archive(Path(folder) / "prediction.npz")
    chosen = [views[i] for i in np.linspace(0, len(views) - 1, SHOWN).round().astype(int)]
    near, far = depth_range(*(view.depth for view in chosen))
    rows = [
        [view.image for view in chosen],
        [depth_picture(view.depth, near, far) for view in chosen],
    ]
    tall = [[_to_height(picture) for picture in row] for row in rows]
    width = sum(p.width + GAP for p in tall[0])
    beside = _from_behind(views, 2 * HEIGHT + GAP)
    sheet = Image.new("RGB", (width + beside.width, 2 * HEIGHT + GAP), "white")
    for number, row in enumerate(tall):
        left = 0
        for picture in row:
            sheet.paste(picture, (left, number * (HEIGHT + GAP)))
            left += picture.width + GAP
    sheet.paste(beside, (width, 0))
    sheet.save(out, quality=85, optimize=True)


def _to_height(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT))


def _from_behind(views: list[View], side: int) -> Image.Image:
    """Points in perspective, the farthest drawn first, a square for each."""
    middle = views[len(views) // 2]
    rotation, shift = middle.world_to_camera[:, :3], middle.world_to_camera[:, 3]
    far = float(np.median(middle.depth))
    cloud = gather_points(views, PointOptions())
    seen = cloud.points @ rotation.T + shift + np.array([0, UP * far, BACK * far])
    tilt = np.arctan2(UP, 1 + BACK)  # looks at what the middle camera sees in its middle
    down = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    x, y, z = (seen @ down.T).T
    ahead = np.flatnonzero(z > 0.1 * far)
    order = ahead[np.argsort(-z[ahead])]
    focal = middle.intrinsics[0, 0] * side / middle.depth.shape[1]
    column, row = ((focal * axis[order] / z[order] + side / 2).astype(int) for axis in (x, y))
    pixels = np.full((side, side, 3), 255, dtype=np.uint8)
    for dy, dx in np.ndindex(DOT, DOT):
        inside = (row + dy >= 0) & (row + dy < side) & (column + dx >= 0) & (column + dx < side)
        pixels[row[inside] + dy, column[inside] + dx] = cloud.colors[order][inside]
    return Image.fromarray(pixels)


if __name__ == "__main__":
    main(*sys.argv[1:])
