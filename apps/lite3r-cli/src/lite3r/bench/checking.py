"""Read every file of a data folder once, before hours of work depend on it."""

from dataclasses import dataclass
from pathlib import Path

from lite3r.shell.errors import sentence
from lite3r.shell.words import Words
from recon_backbones.photos import decode_photo, find_photos
from recon_eval.data import BlendedMVS

SMALL = 64  # pixels: files are read whole, and decoded no larger than needed


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
    if folder.is_dir() and any((child / "cams").is_dir() for child in folder.iterdir()):
        return _check_scenes(folder, words)
    return _check_photos(folder, words)


def _check_scenes(folder: Path, words: Words) -> Checked:
    names = sorted(child.name for child in folder.iterdir() if (child / "cams").is_dir())
    problems = []
    with words.progress("reading scenes", len(names)) as advance:
        for name in names:
            try:
                _ = BlendedMVS(folder, "all", scenes=[name])[0]
            except (ValueError, OSError) as error:
                problems.append(f"{name}: {sentence(error)}")
            advance()
    return Checked(kind="scenes", items=len(names), problems=problems)


def _check_photos(folder: Path, words: Words) -> Checked:
    paths = find_photos([folder], at_least=1)
    problems = []
    with words.progress("reading photos", len(paths)) as advance:
        for path in paths:
            try:
                decode_photo(path, at_least=SMALL)
            except (ValueError, OSError) as error:
                problems.append(sentence(error))
            advance()
    return Checked(kind="photos", items=len(paths), problems=problems)
