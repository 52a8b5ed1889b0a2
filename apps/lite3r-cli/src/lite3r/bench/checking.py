"""Read every file of a data folder once, before hours of work depend on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lite3r.shell.errors import sentence
from lite3r.shell.words import Words
from recon_backbones.photos import decode_photo, find_photos
from recon_eval.data import BlendedMVS

SMALL = 64  # pixels: files are read whole, and kept no larger than needed


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a folder holds; one line for every item that cannot be used."""

    kind: str
    items: int
    problems: list[str]


def check_folder(folder: Path, words: Words) -> Checked:
    """Read a folder of scenes, where one of its folders has a `cams` folder, or of photos.

    Raises ValueError when it holds neither.
    """
    if scenes := sorted(path.parent.name for path in folder.glob("*/cams") if path.is_dir()):
        return _check("scenes", scenes, partial(_scene, folder), words)
    photos = find_photos([folder], at_least=1, broken=True)
    return _check("photos", photos, partial(decode_photo, at_least=SMALL), words)


def _scene(folder: Path, name: str) -> object:
    found = BlendedMVS(folder, "all", scenes=[name], size=(SMALL, SMALL))
    return found[0], found.scenes[0].pairs


def _check(kind: str, items: Sequence[Any], read: Callable[[Any], object], words: Words) -> Checked:
    problems = []
    for item in words.each(f"reading {kind}", items, len(items)):
        try:
            read(item)
        except (ValueError, OSError) as error:
            where = f"{item}: " if kind == "scenes" else ""  # a photo's error names its file
            problems.append(where + sentence(error))
    return Checked(kind=kind, items=len(items), problems=problems)
