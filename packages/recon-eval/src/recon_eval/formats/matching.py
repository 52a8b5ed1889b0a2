"""Which camera belongs to which photo, by name."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from recon_eval.formats.records import Camera

Parts = tuple[str, ...]
Index = Mapping[str, Sequence[tuple[Parts, Camera]]]  # by the last part of a camera's name

DROPPED = ((False, False), (True, False), (True, True))  # endings: the photo's, the camera's


def match_cameras(
    source: Path, known: Sequence[Camera], paths: Sequence[Path], *, at_least: int = 2
) -> list[Camera | None]:
    """Find the camera of each photo by its name; None where there is none.

    Names are compared from the end: the file name, and the folders before it where several
    cameras share one; without the photo's ending where no file name is equal, as some cameras
    have none, and then without the camera's, as the frames of a video have other endings. Raises
    ValueError when fewer than `at_least` photos have a camera, naming some of both, or when a name
    fits several cameras.
    """
    whole, short = _by_last(known, dropped=False), _by_last(known, dropped=True)
    indices = [short if of_camera else whole for _, of_camera in DROPPED]
    found = [_camera_of(path, source, indices) for path in paths]
    taken = [camera.name for camera in found if camera is not None]
    if len(taken) < at_least:
        raise ValueError(
            f"{source} has cameras for other images: it knows "
            f"{_some([camera.name for camera in known])}, and the photos are "
            f"{_some([path.name for path in paths])}; {len(taken)} fit by name and {at_least} "
            "are needed: give the cameras of these photos, or none"
        )
    twice = [name for name, count in Counter(taken).items() if count > 1]
    if twice:
        raise ValueError(
            f"{source}: the camera {sorted(twice)[0]} fits several photos; each has one of "
            "its own: name them as the cameras do, folders included"
        )
    return found


def _by_last(known: Sequence[Camera], *, dropped: bool) -> Index:
    """The cameras and the parts of their names, the last without its ending where it is dropped."""
    found = defaultdict(list)
    for camera in known:
        if parts := _parts(camera.name):
            parts = _without_ending(parts) if dropped else parts
            found[parts[-1]].append((parts, camera))
    return found


def _camera_of(path: Path, source: Path, indices: Sequence[Index]) -> Camera | None:
    parts = _parts(str(path.absolute()))
    for (dropped, _), cameras_by_last in zip(DROPPED, indices, strict=True):
        looked_for = _without_ending(parts) if dropped else parts
        fits = [
            (_common_tail(looked_for, name), camera)
            for name, camera in cameras_by_last.get(looked_for[-1], ())
        ]
        if fits:
            best = max(depth for depth, _ in fits)
            cameras = [camera for depth, camera in fits if depth == best]
            if len(cameras) > 1:
                names = [camera.name for camera in cameras]
                raise ValueError(
                    f"{source}: {path} fits several cameras ({_some(names)}); it must fit "
                    "one: keep the folders of the photos as they were"
                )
            return cameras[0]
    return None


def _common_tail(one: Parts, other: Parts) -> int:
    """How many trailing parts two paths share."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _without_ending(parts: Parts) -> Parts:
    return (*parts[:-1], _plain(parts[-1]))


def _parts(path: str) -> Parts:
    """The parts of a path; accents as one letter, which a Mac writes as two."""
    return PurePosixPath(normalize("NFC", path).replace("\\", "/")).parts


def _plain(name: str) -> str:
    """A file's name without its ending; a number is none, as in shot.001."""
    path = PurePosixPath(name)
    return name if path.suffix[1:].isdecimal() else path.stem


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
