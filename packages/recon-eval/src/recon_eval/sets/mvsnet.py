"""Scenes as MVSNet's test sets store them, one folder each.

images/00000000.jpg   (or .png)
cams/00000000_cam.txt
pair.txt              (not needed here)
"""

from collections.abc import Sequence
from pathlib import Path

from recon_eval.formats.files import require_file, require_folder
from recon_eval.formats.images import SUFFIXES
from recon_eval.sets.frames import DEPTH_KINDS, Frame, load_frames
from recon_eval.sets.scene import Scene

DEPTH_FOLDERS = ("depths", "depth_gt", "rendered_depth_maps")
MASK_FOLDERS = ("binary_masks", "masks")


def read_mvsnet(
    folder: str | Path,
    *,
    views: int | Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
) -> Scene:
    """Read one scene; `views` are frame numbers, or how many to take evenly, or None for all.

    Depth maps are taken from `depths`, `depth_gt` or `rendered_depth_maps` and masks from
    `binary_masks` or `masks`, where there are such folders. Lengths keep their unit.
    """
    folder = require_folder(folder, "a scene with images and cams")
    frames = choose(mvsnet_frames(folder), views, str(folder))
    return load_frames(folder.name, frames, size=size)


def mvsnet_frames(folder: Path) -> dict[int, Frame]:
    """Return the frames of a scene by number; every image must have a camera."""
    images = by_number(require_folder(folder / "images", "the images of an MVSNet scene"), SUFFIXES)
    cameras = require_folder(folder / "cams", "the cameras of an MVSNet scene")
    depths = _first(folder, DEPTH_FOLDERS, frozenset(DEPTH_KINDS))
    masks = _first(folder, MASK_FOLDERS, SUFFIXES)
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=require_file(cameras / f"{number:08d}_cam.txt", image),
            depth=depths.get(number),
            mask=masks.get(number),
        )
        for number, image in images.items()
    }


def choose(frames: dict[int, Frame], views: int | Sequence[int] | None, where: str) -> list[Frame]:
    """Return frames by number, or `views` of them spread evenly from first to last, or all."""
    numbers = sorted(frames)
    if isinstance(views, int):
        if not 1 <= views <= len(numbers):
            raise ValueError(f"{where}: has {len(numbers)} frames; views is {views}: ask for fewer")
        steps = max(views - 1, 1)
        numbers = [numbers[round(i * (len(numbers) - 1) / steps)] for i in range(views)]
    elif views is not None:
        missing = [number for number in views if number not in frames]
        if missing or not views:
            raise ValueError(
                f"{where}: views is {list(views)}; {missing} do not exist: leave them out"
            )
        numbers = list(views)
    return [frames[number] for number in numbers]


def by_number(folder: Path, suffixes: frozenset[str]) -> dict[int, Path]:
    """Return the files of a folder whose names are numbers."""
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes)
    found = {int(path.stem): path for path in files if path.stem.isdecimal()}
    if not found:
        raise ValueError(
            f"{folder}: holds no file named by a number; frames are, as 00000000.png: copy it again"
        )
    return found


def _first(folder: Path, names: Sequence[str], suffixes: frozenset[str]) -> dict[int, Path]:
    for name in names:
        if (folder / name).is_dir():
            return by_number(folder / name, suffixes)
    return {}
