"""Photos at the size of the network, read one by one."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from recon_backbones.backbone import Backbone
from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap, Pixels, Preprocess, Processed
from recon_backbones.machine.amounts import parse_bytes, readable
from recon_backbones.machine.free import available
from recon_backbones.photos.decode import SMALLEST, decode_photo
from recon_backbones.photos.gather import check_cut
from recon_backbones.photos.opening import BROKEN, open_photo, upright_size
from recon_backbones.photos.prepare import Prepared
from recon_backbones.telling import SILENT, Telling

OWN, COMMON = 3, 3 + 12  # bytes of a pixel: at a photo's own size; at that of all, and in float32


def load_batch(
    paths: Sequence[str | Path],
    backbone: Backbone,
    size: int | None = None,
    *,
    budget: str | int | None = None,
    telling: Telling = SILENT,
) -> Prepared:
    """Read photos, each brought to the network's size at once: one is in memory as it is decoded.

    Aspect ratios are kept, photos of different shapes are brought to one as the backbone's family
    does it. The maps lead back to the whole photos.

    - `size`: the longer side in pixels.
    - `budget`: memory that may be used, as `views.options.Memory` has it. Photos are in the host's,
      so it bounds them where the backbone is there too; what else the process holds is counted
      when passes are planned.

    Raises InputError naming a file that is no whole image, or whose shape cuts the others to less
    than half, and before any is decoded where all together would not fit.
    """
    if isinstance(paths, (str, Path)):  # text is a sequence too, of letters
        raise InputError(
            f"paths={str(paths)!r}; it must be a list of photos: give [photo], or "
            "recon_backbones.photos.find_photos([folder])"
        )
    if not paths:
        raise InputError("paths is empty; there must be one photo at least: name some")
    size = backbone.photo_size if size is None else size
    method = backbone.preprocessing(size)
    on_host = next(backbone.parameters()).device.type != "cuda"
    limit = parse_bytes(budget) if on_host and budget is not None else None
    shapes = [_shape(Path(path)) for path in paths]
    _check_memory(shapes, backbone, size, limit)
    sides = {shape: max(2 * size, _longer_side(shape, method, size)) for shape in set(shapes)}
    with telling.progress("reading photos", len(paths)) as advance:
        reading = _Reading(paths, [sides[shape] for shape in shapes], advance)
        done = method(reading)
    if reading.broken is not None:
        raise reading.broken
    check_cut([Path(path) for path in paths], [mapping for _, mapping in done], method, telling)
    maps = [_to_whole(mapping, *reading.found[i]) for i, (_, mapping) in enumerate(done)]
    return Prepared(images=_images(done)[None], maps=tuple(maps))


class _Reading(Sequence[Pixels]):
    """Photos that are decoded when their turn comes, and not kept.

    - `sides`: at least how many pixels the longer side of each is decoded with.
    - `found`: the size of each whole photo, and the factor by which it was reduced.
    - `broken`: why a photo that was asked for by its place, as checks of types do, is blank.
    """

    def __init__(
        self, paths: Sequence[str | Path], sides: Sequence[int], advance: Callable[[], object]
    ) -> None:
        self._paths, self._sides, self._advance = paths, sides, advance
        self.found: dict[int, tuple[tuple[int, int], int]] = {}
        self.broken: InputError | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]
        try:
            return self._decoded(index)
        except InputError as error:
            self.broken = error
            return np.zeros((SMALLEST, SMALLEST, 3), dtype=np.uint8)

    def __iter__(self) -> Iterator[Pixels]:
        for index in range(len(self)):
            yield self._decoded(index)
            self._advance()

    def _decoded(self, index: int) -> Pixels:
        photo = decode_photo(self._paths[index], at_least=self._sides[index])
        self.found[index] = (photo.size, photo.factor)
        return photo.image


def _images(done: Sequence[Processed]) -> Tensor:
    """Images of one size as `v c y x`, in [0, 1]."""
    height, width = done[0][0].shape[:2]
    images = torch.empty(len(done), 3, height, width, dtype=torch.float32, device="cpu")
    for to, (image, _) in zip(images, done, strict=True):
        to.copy_(rearrange(torch.tensor(image, device="cpu"), "y x c -> c y x"))
    return images.div_(255)


def _shape(path: Path) -> tuple[int, int]:
    """Height and width of an upright photo, by its header."""
    with open_photo(path) as image:
        try:
            width, height = upright_size(image)
        except BROKEN:  # decoding tells what is
            width, height = image.size
    return height, width


def _longer_side(shape: tuple[int, int], method: Preprocess, size: int) -> int:
    """Pixels to which the longer side of a photo is brought, before much of it may be cut off."""
    small = [max(1, round(side * size / max(shape))) for side in shape]
    _, mapping = method([np.zeros((*small, 3), dtype=np.uint8)])[0]
    return math.ceil(max(mapping.scale_y * small[0], mapping.scale_x * small[1]))


def _check_memory(
    shapes: Sequence[tuple[int, int]], backbone: Backbone, size: int, budget: int | None
) -> None:
    """Raise InputError where photos of a size do not fit: nothing catches that later."""
    needed = _needed(shapes, backbone, size)
    free = available("cpu")
    limit, what = (free, "are free") if budget is None else (min(free, budget), "may be used")
    if needed > limit:
        raise InputError(
            f"size={size}; {len(shapes)} photo{'s' * (len(shapes) != 1)} of it "
            f"need{'s' * (len(shapes) == 1)} {readable(needed)} of memory, and {readable(limit)} "
            f"{what}: use a smaller size, or fewer photos"
        )


def _needed(shapes: Sequence[tuple[int, int]], backbone: Backbone, size: int) -> int:
    """Bytes, by blank photos of these shapes at the usual size, whatever is asked for."""
    usual = backbone.photo_size
    small = [tuple(max(1, round(side * usual / max(shape))) for side in shape) for shape in shapes]
    blank = [np.zeros((*shape, 3), dtype=np.uint8) for shape in dict.fromkeys(small)]
    common = backbone.preprocessing(usual)(blank)[0][0]
    own = sum(height * width for height, width in small)
    found = OWN * own + COMMON * len(small) * common.shape[0] * common.shape[1]
    return int(found * (size / usual) ** 2)


def _to_whole(mapping: PixelMap, size: tuple[int, int], factor: int) -> PixelMap:
    """From the whole photo, where `mapping` starts from what was decoded of it."""
    width, height = size
    return replace(
        mapping,
        photo=(height, width),
        scale_x=mapping.scale_x / factor,
        scale_y=mapping.scale_y / factor,
    )
