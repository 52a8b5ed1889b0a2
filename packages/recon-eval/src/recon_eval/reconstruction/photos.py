"""The photos beside the cameras, upright, where splat trainers look for them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from recon_eval.formats import new_file, open_image
from recon_eval.reconstruction.view import View

FOLDER, MASKS = "images", "masks"
UPRIGHT = 1  # value of the EXIF tag for a photo that needs no turning
ORIENTATION = 0x0112


def link_photos(out: Path, views: Sequence[View], photos: Path) -> None:
    """Fill `out/images` with links to the photos; a file that is there already stays.

    Trainers read neither EXIF turns nor CMYK, so such photos are written upright in RGB.
    Links are relative. Where the file system has no links, photos are copied.
    - `photos`: their folder, relative to `out`. Raises ValueError when a photo is gone.
    """
    for view in views:
        link, photo = out / FOLDER / view.name, Path(os.path.normpath(out / photos / view.name))
        if link.exists():
            continue
        if not photo.is_file():
            raise ValueError(
                f"{photo} is gone; cameras are written beside their photos: put it back"
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        if _plain(photo):
            _link(photo, link)
        else:
            open_image(photo).save(link, quality=95)


def write_masks(out: Path, views: Sequence[View]) -> list[str]:
    """Write the masks of views to `out/masks`, upright, 0 and 255; return their names from `out`.

    A mask has the whole name of its photo and .png, as COLMAP takes them; without masks nothing is
    written.
    """
    names = []
    for view in views:
        if view.mask is not None:
            name = f"{MASKS}/{view.name}.png"
            with new_file(out / name) as partial:
                Image.fromarray(view.mask().astype(np.uint8) * 255).save(partial, format="png")
            names.append(name)
    return names


def _plain(photo: Path) -> bool:
    with Image.open(photo) as image:
        return image.mode == "RGB" and image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT


def _link(photo: Path, link: Path) -> None:
    try:
        link.symlink_to(os.path.relpath(photo.resolve(), link.parent.resolve()))
    except OSError:
        shutil.copyfile(photo, link)
