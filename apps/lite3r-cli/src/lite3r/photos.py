"""From what a user names - a folder, a pattern, a list, photos - to what a network sees."""

import glob
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones import Backbone
from recon_backbones.preprocess import PixelMap, preprocess
from recon_eval.formats.images import SUFFIXES

from .inputs import decode_photo

MAX_LIST = 16 << 20  # bytes
GLANCE = 10_000  # files below a folder that are looked at for a hint


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Photos of one scene at the size of the network.

    images: in [0, 1].
    paths: the files, in the order of `images`.
    sizes: width and height of each upright photo.
    seen: False where an image shows padding and no photo.
    """

    images: Float[Tensor, "v 3 y x"]
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    seen: Bool[np.ndarray, "v y x"]
    maps: tuple[PixelMap, ...]
    factors: tuple[int, ...]

    def to_photos(self, intrinsics: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Intrinsics in pixels of `images` to those of the upright photos, in float64."""
        pairs = zip(self.maps, intrinsics.double(), strict=True)
        return self._scaled(torch.stack([m.intrinsics_to_photo(k) for m, k in pairs]), 1)

    def from_photos(self, intrinsics: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Intrinsics in pixels of the upright photos to those of `images`, in float64."""
        pairs = zip(self.maps, self._scaled(intrinsics.double(), -1), strict=True)
        return torch.stack([m.intrinsics_from_photo(k) for m, k in pairs])

    def _scaled(self, intrinsics: Float[Tensor, "v 3 3"], power: int) -> Float[Tensor, "v 3 3"]:
        """Between the photos and what was decoded of them, smaller by whole factors."""
        factors = torch.tensor(self.factors, dtype=torch.float64) ** power
        scaled = intrinsics.clone()
        scaled[:, :2] *= factors[:, None, None]
        return scaled


def load_batch(
    paths: Sequence[str | Path],
    backbone: Backbone,
    size: int,
    *,
    advance: Callable[[], None] = lambda: None,
) -> Batch:
    """Read photos one by one, each reduced at once, so that memory does not hold them whole.

    size: longer side in pixels; aspect ratios are kept, photos of different shapes are
    cropped to what they share. Raises ValueError naming a file that is no whole image.
    """
    photos = []
    for path in paths:
        photos.append(decode_photo(path, at_least=2 * size))
        advance()
    prepared = preprocess([photo.image for photo in photos], backbone, size=size)
    return Batch(
        images=prepared.images[0],
        paths=tuple(Path(p) for p in paths),
        sizes=tuple(photo.size for photo in photos),
        seen=np.stack([_seen(mapping) for mapping in prepared.maps]),
        maps=prepared.maps,
        factors=tuple(photo.factor for photo in photos),
    )


def _seen(mapping: PixelMap) -> Bool[np.ndarray, "y x"]:
    top, left, bottom, right = mapping.seen()
    seen = np.zeros(mapping.size, dtype=bool)
    seen[top:bottom, left:right] = True
    return seen


def find_photos(inputs: Sequence[str | Path], *, at_least: int = 2) -> list[Path]:
    """The photos that the inputs name, in natural order within each, each file once.

    An input is a photo, a folder (its photos, not those of folders in it), a shell
    pattern, or a .txt file with one path per line, relative to the file.
    Raises ValueError when an input names nothing, or all together fewer than `at_least`.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        for path in _expand(str(given)):
            if not path.is_file():
                what = "is a link to nothing" if path.is_symlink() else "is no file"
                raise ValueError(f"{path} {what}; leave it out of the photos")
            found.setdefault(path.resolve(), path)
    if len(found) < at_least:
        raise ValueError(
            f"{' '.join(map(str, inputs))} names {len(found)} photo{'s' * (len(found) != 1)}; "
            f"at least {at_least} views of the same scene are needed"
        )
    return list(found.values())


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds every path."""
    parents = [set(path.absolute().parents) for path in paths]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def _expand(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        photos = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.is_dir()]
        if not photos:
            held = sorted(p.name for p in path.iterdir())[:3]
            raise ValueError(
                f"{path} holds no photo ({', '.join(held) if held else 'it is empty'}); photos end "
                f"in {', '.join(sorted(SUFFIXES))}{_hint(path)}"
            )
        return sorted(photos, key=_natural)
    if path.suffix.lower() == ".txt" and path.is_file():
        return _listed(path)
    if path.is_file():
        return [path]
    matches = sorted((Path(m) for m in glob.glob(given, recursive=True)), key=_natural)
    if not matches:
        raise ValueError(f"{given} does not exist, and matches no file as a pattern")
    return [m for m in matches if m.is_file()]


def _hint(path: Path) -> str:
    """Where photos lie below a folder that holds none itself."""
    below = itertools.islice(itertools.chain(path.glob("*/*"), path.glob("*/*/*")), GLANCE)
    found = sorted({str(p.parent) for p in below if p.suffix.lower() in SUFFIXES})
    return f"; but {' and '.join(found[:3])} do: name one" if found else ""


def _listed(path: Path) -> list[Path]:
    if path.stat().st_size > MAX_LIST:
        raise ValueError(f"{path} is larger than {MAX_LIST >> 20} MB; a list has a path per line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason})") from error
    return [path.parent / line.strip() for line in lines if line.strip()]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p.lower()) for p in parts] + [(-1, path.name)]
