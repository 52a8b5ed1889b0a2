"""Which views to take: copies left out, an even spread, and of neighbors the sharpest.

Sharpness is the variance of the Laplacian of the gray photo at 256 pixels (Pech-Pacheco et
al., ICPR 2000) over the variance of the photo itself, so that contrast does not count; it
compares photos of one scene, and means nothing by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from recon_backbones.photos.decode import decode_photo
from recon_backbones.photos.files import without_copies

SIDE, GRAY = 256, 32
NEARLY = 2.0  # of 255: two photos whose small gray versions differ by less show the same


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """What selection knows of a photo: its sharpness, and itself in 32 x 32 gray pixels."""

    sharpness: float
    gray: Float[np.ndarray, "32 32"]

    def shows_the_same(self, other: "Thumbnail") -> bool:
        """Whether nothing but noise tells the two apart."""
        return float(np.abs(self.gray - other.gray).mean()) < NEARLY


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen photos in their order, and what was left out and why."""

    paths: tuple[Path, ...]
    left_out: dict[str, tuple[Path, ...]]


def thumbnail(image: UInt8[np.ndarray, "y x 3"]) -> Thumbnail:
    """Measure a photo."""
    picture = Image.fromarray(image).convert("L")
    longer = max(picture.size)
    size = tuple(max(3, round(side * SIDE / longer)) for side in picture.size)
    gray = np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BOX), dtype=np.float32)
    middle = gray[1:-1, 1:-1]
    beside = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    small = picture.resize((GRAY, GRAY), Image.Resampling.BOX)
    return Thumbnail(
        sharpness=float((beside - 4 * middle).var() / (gray.var() + 1)),
        gray=np.asarray(small, dtype=np.float32),
    )


def select_views(
    paths: Sequence[Path],
    *,
    max_views: int | None,
    drop_blurred: float = 0.0,
    advance: Callable[[], object] = lambda: None,
) -> Selection:
    """Leave out files that are byte for byte another; then blurred ones; then take an even spread.

    - `max_views`: with fewer places than photos, each place takes the sharpest photo near it that
      does not show the same as the one before; photos are looked at only then.
    - `drop_blurred`: leave out photos less sharp than this fraction of the median (0 keeps all).
    """
    chosen, copies = without_copies(paths)
    blurred: list[Path] = []
    if drop_blurred > 0 or (max_views is not None and len(chosen) > max_views):
        looks = {}
        for path in chosen:
            looks[path] = thumbnail(decode_photo(path, at_least=SIDE).image)
            advance()
        bound = drop_blurred * float(np.median([look.sharpness for look in looks.values()]))
        blurred = [path for path in chosen if looks[path].sharpness < bound]
        chosen = [path for path in chosen if looks[path].sharpness >= bound]
        if max_views is not None:
            chosen = _spread(chosen, looks, max_views)
    left_out = {"a copy of another": copies, "blurred": blurred}
    return Selection(
        paths=tuple(chosen), left_out={why: tuple(p) for why, p in left_out.items() if p}
    )


def _spread(paths: list[Path], looks: dict[Path, Thumbnail], count: int) -> list[Path]:
    """At most `count` of the paths: evenly spaced places, and near each the best photo.

    A place reaches a quarter of the way to its neighbors, so that the spread stays even.
    """
    if len(paths) <= count:
        return paths
    step = (len(paths) - 1) / max(count - 1, 1)
    chosen: list[Path] = []
    for place in np.linspace(0, len(paths) - 1, count):
        first, last = int(np.ceil(place - step / 4)), int(np.floor(place + step / 4))
        near = paths[max(first, 0) : last + 1] or [paths[round(float(place))]]
        fresh = [p for p in near if p not in chosen]
        new = [p for p in fresh if not chosen or not looks[p].shows_the_same(looks[chosen[-1]])]
        if fresh:
            chosen.append(max(new or fresh, key=lambda p: looks[p].sharpness))
    return chosen
