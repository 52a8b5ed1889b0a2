"""Sets of views of a folder of photos."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from lite3r.bench.images import ImageSettings
from recon_backbones import Backbone
from recon_backbones.photos import find_photos, load_batch
from recon_eval.data import Scene


def photo_sets(folder: Path, backbone: Backbone, *, size: int, views: int) -> list[Scene]:
    """As many sets of `views` photos as there are, interleaved, so that each sees all of a walk.

    Without truth: the dense network's answer is what others are compared with. Fewer photos than
    `views` make one set. Raises ValueError for a folder without two photos.
    """
    ImageSettings(views=views, size=size)
    images = load_batch(find_photos([folder], copies=False), backbone, size).images[0]
    sets = max(1, len(images) // views)
    chosen = [images[number::sets][:views] for number in range(sets)]
    place = "/".join(folder.resolve().parts[-2:])  # many folders of photos are called "images"
    return [Scene(name=f"{place} {n}", images=one) for n, one in enumerate(chosen)]


def told_apart(sets: Sequence[Scene]) -> list[str]:
    """Names that other photos in the same place do not have."""
    return [f"{s.name} {sha256(s.images.numpy().tobytes()).hexdigest()[:8]}" for s in sets]


def half_of(folder: Path) -> int:
    """Half of the photos of a folder, so that a second set can be held out; at most 32.

    Raises ValueError for fewer than four photos.
    """
    count = len(find_photos([folder], copies=False))
    if count < 4:
        raise ValueError(f"data={folder}; it holds {count} photos: four are the fewest to tune on")
    return min(32, count // 2)
