"""From what a user names - a folder, a pattern, a list, photos - to what a network sees."""

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone
from recon_backbones.preprocess import preprocess
from recon_eval.data import open_image
from recon_eval.data.images import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Photos of one scene at the size of the network.

    images: in [0, 1].
    paths: the files, in the order of `images`.
    sizes: width and height of each upright photo.
    to_photos: takes intrinsics in pixels of `images` to those of the upright photos.
    """

    images: Float[Tensor, "v 3 y x"]
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    to_photos: Callable[[Float[Tensor, "v 3 3"]], Float[Tensor, "v 3 3"]]


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
    photos, sizes, factors = [], [], []
    for path in paths:
        image = open_image(path)
        factor = max(1, max(image.size) // (2 * size))
        sizes.append(image.size)
        factors.append(float(factor))
        photos.append(np.asarray(image.reduce(factor) if factor > 1 else image))
        advance()
    prepared = preprocess(photos, backbone, size=size)
    enlarge = torch.tensor(factors, dtype=torch.float64)

    def to_photos(intrinsics: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        found = prepared.intrinsics_to_photos(intrinsics[None].double())
        found[:, :2] *= enlarge[:, None, None]
        return found

    return Batch(
        images=prepared.images[0],
        paths=tuple(Path(p) for p in paths),
        sizes=tuple(sizes),
        to_photos=to_photos,
    )


def find_photos(inputs: Sequence[str | Path], *, at_least: int = 2) -> list[Path]:
    """The photos that the inputs name, in natural order within each, each file once.

    An input is a photo, a folder (its photos, not those of folders in it), a shell
    pattern, or a .txt file with one path per line, relative to the file.
    Raises ValueError when an input names nothing, or all together fewer than `at_least`.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        for path in _expand(str(given)):
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
        photos = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not photos:
            held = sorted(p.name for p in path.iterdir())[:3]
            raise ValueError(
                f"{path} holds no photo ({', '.join(held) if held else 'it is empty'}); photos end "
                f"in {', '.join(sorted(SUFFIXES))}"
            )
        return sorted(photos, key=_natural)
    if path.suffix.lower() == ".txt" and path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        return [path.parent / line.strip() for line in lines if line.strip()]
    if path.is_file():
        return [path]
    matches = sorted((Path(m) for m in glob.glob(given, recursive=True)), key=_natural)
    if not matches:
        raise ValueError(f"{given} does not exist, and matches no file as a pattern")
    return [m for m in matches if m.is_file()]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p.lower()) for p in parts] + [(-1, path.name)]
