"""Photos at the size of the network, read one by one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recon_backbones.backbone import Backbone
from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.machine.amounts import readable
from recon_backbones.machine.free import available
from recon_backbones.photos.decode import Reduced, decode_photo
from recon_backbones.photos.gather import check_cut
from recon_backbones.photos.prepare import Prepared, preprocess
from recon_backbones.telling import SILENT, Telling

BYTES = 3 * 9  # of a pixel: as it is decoded, stacked, and twice in float32


def load_batch(
    paths: Sequence[str | Path],
    backbone: Backbone,
    size: int | None = None,
    *,
    telling: Telling = SILENT,
) -> Prepared:
    """Read photos, each reduced at once, so that memory does not hold them whole.

    `size` is the longer side in pixels; aspect ratios are kept, photos of different shapes are
    brought to one as the backbone's family does it. The maps lead back to the whole photos.

    Raises InputError naming a file that is no whole image, or whose shape cuts the others to less
    than half.
    """
    at_least = 2 * (size or backbone.photo_size)
    photos = []
    with telling.progress("reading photos", len(paths)) as advance:
        for path in paths:
            photos.append(decode_photo(path, at_least=at_least))
            advance()
    _check_memory(photos, size or backbone.photo_size)
    prepared = preprocess([photo.image for photo in photos], backbone, size=size)
    check_cut([Path(path) for path in paths], prepared.maps, backbone.preprocessing(size), telling)
    pairs = zip(prepared.maps, photos, strict=True)
    return replace(prepared, maps=tuple(_to_whole(mapping, photo) for mapping, photo in pairs))


def _check_memory(photos: Sequence[Reduced], size: int) -> None:
    """Raise InputError where photos of a size do not fit in what is free: nothing catches that."""
    sides = [photo.image.shape[:2] for photo in photos]
    pixels = sum(size * size * min(side) // max(side) for side in sides)
    needed, free = pixels * BYTES, available("cpu")
    if needed > free:
        raise InputError(
            f"size={size}; {len(photos)} photos of it need {readable(needed)} of memory, and "
            f"{readable(free)} are free: use a smaller size, or fewer photos"
        )


def _to_whole(mapping: PixelMap, photo: Reduced) -> PixelMap:
    """From the whole photo, where `mapping` starts from what was decoded of it."""
    width, height = photo.size
    return replace(
        mapping,
        photo=(height, width),
        scale_x=mapping.scale_x / photo.factor,
        scale_y=mapping.scale_y / photo.factor,
    )
