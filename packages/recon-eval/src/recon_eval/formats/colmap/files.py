"""A COLMAP model in a folder: binary or text, whichever is there; both are written unless one is
asked for.

Text is left out where an image's name has a space: readers of text, COLMAP's and nerfstudio's, cut
the name there.
"""

import itertools
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from recon_eval.formats.colmap import binary, text
from recon_eval.formats.colmap.model import PIXEL, ColmapModel, Damaged, Pixels
from recon_eval.formats.colmap.tracks import tracks_of
from recon_eval.formats.records import Camera, Observations, PointCloud

KINDS: dict[str, ModuleType] = {"bin": binary, "txt": text}
STEMS = ("cameras", "images", "points3D")
RIGS = ("rigs", "frames")  # of COLMAP from 3.12 on; without them each camera is its own
_BROKEN = (
    Damaged,
    struct.error,
    UnicodeDecodeError,
    IndexError,
    KeyError,
    OverflowError,
    ValueError,
)


def read_colmap_cameras(folder: str | Path) -> list[Camera]:
    """Return the cameras of the images of a model, in the order of the file.

    Binary files win where both are there. Raises ValueError where a file is damaged, two images
    share a name, or a camera is distorted.
    """
    return [camera for camera, _ in _images(Path(folder))]


def read_colmap(folder: str | Path) -> ColmapModel:
    """Return cameras, points and observations of a model; pixels of no point are left out.

    Binary files win where both are there. Raises ValueError as `read_colmap_cameras` does, and
    where an image sees a point that is not there.
    """
    folder = Path(folder)
    images = list(_images(folder))
    kind, path = _file(folder, "points3D")
    with _named(path):
        numbers, cloud = KINDS[kind].read_points(path)
        return ColmapModel(
            cameras=tuple(camera for camera, _ in images),
            cloud=cloud,
            observations=_observations([pixels for _, pixels in images], numbers),
        )


def write_colmap(
    folder: str | Path,
    cameras: Sequence[Camera],
    cloud: PointCloud,
    observations: Observations | None = None,
    *,
    kinds: Sequence[str] = ("bin", "txt"),
) -> None:
    """Write cameras, images and points3D, each as .bin and .txt, into `folder`.

    Where a name has a space, as .bin alone: readers of text cut the name there. Every camera
    becomes an image; images share a PINHOLE camera where size and intrinsics are equal to the last
    bit. `observations` become the tracks of the points: dense stereo and splatting choose partners
    by points seen in common, so without them no image has one. Files of an earlier model that this
    one does not replace are removed: readers would mix the two.

    - `kinds`: "bin", "txt", or both. Text of a million points takes a quarter of a minute.

    Raises ValueError where a camera has no size, or a skew, for another kind, and for text alone
    where a name has a space.
    """
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds={tuple(kinds)}; they must be of {', '.join(KINDS)}: name one")
    seen = Observations.none() if observations is None else observations
    tracks = tracks_of(seen, cameras=len(cameras), points=len(cloud))
    spaced = [c.name for c in cameras if c.name != "".join(c.name.split())]
    if spaced and set(kinds) == {"txt"}:
        raise ValueError(
            f"{spaced[0]!r} has a space; readers of text cut a name there: write a binary model, "
            "or give the photo another name"
        )
    written = [kind for kind in kinds if not (spaced and KINDS[kind] is text)]
    for kind in written:
        module = KINDS[kind]
        module.write_cameras(Path(folder) / f"cameras.{kind}", cameras)
        module.write_images(Path(folder) / f"images.{kind}", cameras, tracks)
        module.write_points(Path(folder) / f"points3D.{kind}", cloud, tracks)
    _remove_others(Path(folder), {f"{stem}.{kind}" for stem in STEMS for kind in written})


def _remove_others(folder: Path, written: Collection[str]) -> None:
    """Remove what an earlier model left: readers would take it for a part of this one."""
    for stem, kind in itertools.product((*STEMS, *RIGS), KINDS):
        if f"{stem}.{kind}" not in written:
            (folder / f"{stem}.{kind}").unlink(missing_ok=True)


def _images(folder: Path) -> Iterator[tuple[Camera, Pixels]]:
    kind, path = _file(folder, "images")
    lens_path = folder / f"cameras.{kind}"
    if not lens_path.is_file():
        raise FileNotFoundError(f"{lens_path}: does not exist; a COLMAP model has it")
    with _named(lens_path):
        lenses = dict(KINDS[kind].read_cameras(lens_path))
    names = set()
    with _named(path):
        for camera, pixels in KINDS[kind].read_images(path, lenses):
            if camera.name in names:
                raise Damaged(
                    f"the image {camera.name[:60]!r} is listed twice; each stands once: copy "
                    "the model again"
                )
            names.add(camera.name)
            yield camera, pixels


def _file(folder: Path, name: str) -> tuple[str, Path]:
    for kind in KINDS:
        if (path := folder / f"{name}.{kind}").is_file():
            return kind, path
    raise FileNotFoundError(f"{folder / name}.txt: does not exist, nor .bin; a COLMAP model has it")


def _observations(images: Sequence[Pixels], numbers: np.ndarray) -> Observations:
    camera = np.repeat(np.arange(len(images)), [len(pixels) for pixels in images])
    pixels = np.concatenate([*images, np.zeros(0, PIXEL)])
    kept = pixels["point"] >= 0
    camera, pixels = camera[kept], pixels[kept]
    order = np.argsort(numbers, kind="stable")
    place = np.searchsorted(numbers[order], pixels["point"]).clip(max=max(len(numbers) - 1, 0))
    point = order[place] if len(numbers) else place
    if len(point) and not (len(numbers) and (numbers[point] == pixels["point"]).all()):
        raise Damaged(
            "an image sees a point that is not there; every point must be listed: copy the "
            "model again"
        )
    return Observations(camera=camera, point=point, xy=pixels["xy"])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give the errors of a reader the name of its file."""
    try:
        yield
    except _BROKEN as error:
        short = f"{type(error).__name__}: {str(error)[:200]}"
        what = str(error) if isinstance(error, Damaged) else f"it is damaged ({short})"
        raise ValueError(f"{path}: {what}") from error
