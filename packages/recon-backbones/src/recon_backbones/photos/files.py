"""From what a user names - a folder, a pattern, a list, photos - to files."""

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from recon_backbones.errors import InputError
from recon_backbones.photos.opening import SUFFIXES

VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"})
MAX_LIST = 16 << 20  # bytes
SIDECAR = "._"  # how a Mac begins the name of what it keeps beside a file
MADE = "reconstruction.json"  # in a folder that a reconstruction was written to
GLANCE = 10_000  # files below a folder that are looked at for a hint


def find_photos(
    inputs: Sequence[str | Path],
    *,
    at_least: int = 2,
    recursive: bool = False,
    copies: bool = True,
    broken: bool = False,
) -> list[Path]:
    """The photos that the inputs name, in natural order within each, each file once.

    An input is a photo, a folder (its photos, and with `recursive` those of the folders in it), a
    shell pattern, or a .txt file with one path per line, relative to the file. Hidden files in
    folders, the sidecars that a Mac leaves beside photos (._NAME), and what a reconstruction wrote
    into a folder below, as depth maps, are no photos. Without `copies` no file is taken that is
    byte for byte one before it: a photo must not be held out and learned from. With `broken` what
    is named and is no file, as a link to nothing, is among them, for whoever names each of these.

    Raises InputError when an input names nothing or a video, or all together name fewer than
    `at_least`.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        for path in _expand(str(given), recursive):
            if path.name.startswith(SIDECAR):
                continue
            whole = os.path.isfile(path)
            if not whole and not broken:
                what = "is a link to nothing" if os.path.islink(path) else "is no file"
                raise InputError(
                    f"{_shown(path)} {what}; a photo must be a file that can be read: leave it out"
                )
            if is_video(path):
                raise InputError(
                    f"{path} is a video; photos must be named here: reconstruct it by its own "
                    "name, or give the folder images of its frames that this leaves"
                )
            found.setdefault(path.resolve() if whole else path.absolute(), path)
    photos = list(found.values()) if copies else without_copies(list(found.values()))[0]
    if len(photos) < at_least:
        raise InputError(
            f"{' '.join(map(str, inputs))} names {len(photos)} "
            f"photo{'s' * (len(photos) != 1)}; at least {at_least} "
            f"{'views of the same scene are' if at_least > 1 else 'is'} needed: name more"
        )
    return photos


def is_video(path: Path) -> bool:
    """Whether a name is that of a video; a folder, as of its frames, is none."""
    return path.suffix.lower() in VIDEOS and not path.is_dir()


def without_copies(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files of which none is byte for byte one before it, and the others."""
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        by_size.setdefault(path.stat().st_size, []).append(path)
    copies = set()
    for same in by_size.values():
        seen = set()
        for path in same if len(same) > 1 else ():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest in seen:
                copies.add(path)
            seen.add(digest)
    return [p for p in paths if p not in copies], [p for p in paths if p in copies]


def photos_digest(paths: Sequence[Path]) -> str:
    """How many files there are, and a digest of what they hold in this order, whatever their names.

    Raises OSError for one that cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{len(paths)} of digest {digest.hexdigest()[:12]}"


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds every path, each as `straight` has it."""
    parents = [set(straight(path).parents) for path in paths]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def straight(path: Path) -> Path:
    """The absolute path without `..`, so that what is named after its end stays below a folder.

    Links in it stay as they are named, but where a `..` behind one leads elsewhere than it reads.
    """
    folder = path.absolute().parent
    read = Path(os.path.normpath(folder))
    return (read if read.resolve() == folder.resolve() else folder.resolve()) / path.name


def _expand(given: str, recursive: bool) -> Iterable[Path]:
    if not given:
        raise InputError("photos=''; a name must be given: write . for the folder you are in")
    path = Path(given)
    if path.is_dir():
        return _folder(path, recursive)
    if path.suffix.lower() == ".txt" and path.is_file():
        return _listed(path)
    if path.is_file() or os.path.islink(path):
        return [path]
    matches = sorted((Path(m) for m in glob.glob(given, recursive=True)), key=_folder_first)
    if not matches:
        raise InputError(
            f"{given} does not exist; it matches no file as a pattern either: check the path"
        )
    return [m for m in matches if not m.is_dir()]


def _folder(path: Path, recursive: bool) -> list[Path]:
    """The photos of a folder, those of each folder in it together."""
    photos: list[Path] = []
    visited: set[str] = set()
    for folder, below, names in os.walk(path, followlinks=True, onerror=_raised):
        place = os.path.realpath(folder)
        if place in visited:  # a link round a circle
            below.clear()
            continue
        visited.add(place)
        if MADE in names and folder != str(path):
            below.clear()
            continue
        here = [Path(folder, name) for name in names if not name.startswith(".")]
        photos += sorted((p for p in here if p.suffix.lower() in SUFFIXES), key=_natural)
        wanted = [name for name in below if recursive and not name.startswith(".")]
        below[:] = sorted(wanted, key=lambda name: _natural(Path(name)))
    if not photos:
        held = sorted(p.name for p in path.iterdir())[:3]
        raise InputError(
            f"{path} holds no photo ({', '.join(held) if held else 'it is empty'}); photos end in "
            f"{', '.join(sorted(SUFFIXES))}: name {'others' if recursive else _elsewhere(path)}"
        )
    return photos


def _raised(error: OSError) -> None:
    """What a folder that cannot be read says: its photos would be missing in silence."""
    raise error


def _elsewhere(path: Path) -> str:
    """Where photos lie below a folder that holds none itself."""
    below = itertools.islice(itertools.chain(path.glob("*/*"), path.glob("*/*/*")), GLANCE)
    found = sorted({str(p.parent) for p in below if p.suffix.lower() in SUFFIXES})
    if not found:
        return "others"
    hold = "holds" if len(found) == 1 else "hold"
    return f"{' or '.join(found[:3])}, which {hold} some, or take folders too (recursive)"


def _listed(path: Path) -> Iterator[Path]:
    """The paths of a list, one at a time, so that the first wrong one ends it."""
    if path.stat().st_size > MAX_LIST:
        raise InputError(
            f"{path} is larger than {MAX_LIST >> 20} MB; that is no list of photos: give a "
            "file with a path per line"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text in UTF-8 ({error.reason}); a list must be: write a path per line"
        ) from error
    for line in lines:
        if line.strip():
            yield path.parent / line.strip()


def _shown(path: Path) -> str:
    """A path as a message names it, whatever a list holds."""
    text = str(path)
    return text if len(text) < 300 and text.isprintable() else repr(text[:200])


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdecimal() else (-1, p.lower()) for p in parts] + [(-1, path.name)]


def _folder_first(path: Path) -> list[tuple[bool, list[tuple[int, str]]]]:
    """Sort key under which photos of a folder stand together, before those of folders in it."""
    parts = [Path(part) for part in path.parts]
    return [(depth < len(parts) - 1, _natural(part)) for depth, part in enumerate(parts)]
