"""Which camera belongs to which photo, by name."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from recon_eval.formats.records import Camera

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
    found = [_camera_of(path, source, known) for path in paths]
    taken = [camera.name for camera in found if camera is not None]
    if len(taken) < at_least:
        raise ValueError(
            f"{source} has cameras for other images: it knows "
            f"{_some([camera.name for camera in known])}, and the photos are "
            f"{_some([path.name for path in paths])}; {len(taken)} fit by name and {at_least} "
            "are needed: give the cameras of these photos, or none"
        )
    twice = {name for name in taken if taken.count(name) > 1}
    if twice:
        raise ValueError(
            f"{source}: the camera {sorted(twice)[0]} fits several photos; each has one of "
            "its own: name them as the cameras do, folders included"
        )
    return found


def _camera_of(path: Path, source: Path, known: Sequence[Camera]) -> Camera | None:
    parts = _parts(str(path.absolute()))
    for dropped in DROPPED:
        fits = [
            (depth, camera)
            for camera in known
            if (depth := _common_tail(parts, camera.name, dropped))
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


def _common_tail(parts: tuple[str, ...], name: str, dropped: tuple[bool, bool]) -> int:
    """How many trailing parts of a path two names share, without the endings that are dropped."""
    pairs = list(zip(reversed(parts), reversed(_parts(name)), strict=False))
    if pairs:
        photo, camera = pairs[0]
        pairs[0] = (
            _plain(photo) if dropped[0] else photo,
            _plain(camera) if dropped[1] else camera,
        )
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _parts(path: str) -> tuple[str, ...]:
    """The parts of a path; accents as one letter, which a Mac writes as two."""
    return PurePosixPath(normalize("NFC", path).replace("\\", "/")).parts


def _plain(name: str) -> str:
    """A file's name without its ending; a number is none, as in shot.001."""
    path = PurePosixPath(name)
    return name if path.suffix[1:].isdecimal() else path.stem


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
