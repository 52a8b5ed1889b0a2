"""The photos beside the cameras, upright, where splat trainers look for them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from recon_eval.formats import new_file
from recon_eval.formats.images import ORIENTATION, decoded, opened
from recon_eval.reconstruction.view import View

FOLDER, MASKS = "images", "masks"
UPRIGHT = 1  # value of the EXIF tag for a photo that needs no turning
PLAIN = ("JPEG", "MPO", "PNG", "TIFF", "BMP")  # MPO: a JPEG with a second picture behind
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})


def image_names(views: Sequence[View]) -> list[str]:
    """Names below `images`: those of the photos where every reader knows their ending, else .jpg.

    All are different: beside a.jpg, a.avif becomes a_.jpg.
    """
    names, taken = [], {view.name for view in views}
    for view in views:
        path = PurePosixPath(view.name)
        name = view.name
        if path.suffix.lower() not in SUFFIXES:
            name = str(path.with_suffix(".jpg"))
            while name in taken:
                name = f"{name.removesuffix('.jpg')}_.jpg"
            taken.add(name)
        names.append(name)
    return names


def link_photos(out: Path, views: Sequence[View], photos: Path) -> None:
    """Fill `out/images` with links to the photos; a file that is there already stays.

    COLMAP and splat trainers read neither AVIF, HEIC and WebP nor EXIF turns nor CMYK, so such
    photos are written upright in RGB, under their `image_names`. What is transparent is white.
    Links are relative. Where the file system has no links, photos are copied.
    - `photos`: their folder, relative to `out`. Raises ValueError when a photo is gone.
    """
    for view, name in zip(views, image_names(views), strict=True):
        link, photo = out / FOLDER / name, Path(os.path.normpath(out / photos / view.name))
        if link.exists():
            continue
        if not photo.is_file():
            raise ValueError(
                f"{photo} is gone; cameras are written beside their photos: put it back"
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # one to where a photo was must not be written through
        if _plain(photo):
            _link(photo, link)
        else:
            with new_file(link) as partial:  # Pillow takes no quality beside a TIFF's own LZW
                _on_white(photo).save(partial, quality=95, compression="raw")


def write_masks(out: Path, views: Sequence[View]) -> list[str]:
    """Write the masks of views to `out/masks`, upright, 0 and 255; return their names from `out`.

    A mask has the whole name of its image and .png, as COLMAP takes them; without masks nothing is
    written.
    """
    names = []
    for view, image in zip(views, image_names(views), strict=True):
        if view.mask is not None:
            name = f"{MASKS}/{image}.png"
            with new_file(out / name) as partial:
                Image.fromarray(view.mask().astype(np.uint8) * 255).save(partial, format="png")
            names.append(name)
    return names


def _plain(photo: Path) -> bool:
    """Whether every reader sees in a photo, under its own name, what is meant."""
    if photo.suffix.lower() not in SUFFIXES:
        return False
    with opened(photo) as image:
        upright = image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
        solid = image.mode == "RGB" and "transparency" not in image.info
        return upright and solid and image.format in PLAIN


def _on_white(photo: Path) -> Image.Image:
    """A photo as networks see it: upright, in RGB, with white where it is transparent."""
    with opened(photo) as image:
        plain = decoded(image, photo)
        if not image.has_transparency_data or image.mode.startswith("I"):  # read as gray
            return plain
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    return Image.composite(plain, Image.new("RGB", plain.size, "white"), alpha)


def _link(photo: Path, link: Path) -> None:
    try:
        link.symlink_to(os.path.relpath(photo.resolve(), link.parent.resolve()))
    except OSError:
        shutil.copyfile(photo, link)
