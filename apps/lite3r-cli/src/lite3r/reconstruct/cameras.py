"""Cameras that are known beforehand, for the photos that they belong to."""

from collections.abc import Sequence
from pathlib import Path

from recon_backbones import GivenCamera, InputError
from recon_backbones.photos import CamerasOf
from recon_eval.formats import match_cameras, read_cameras

FIELDS = ("name", "world_to_camera", "intrinsics", "size")


def cameras_from(path: Path) -> CamerasOf:
    """Read cameras of any known kind, to be matched with photos by name.

    Raises ValueError or OSError for what holds no cameras.
    """
    source, known = read_cameras(path)

    def of(paths: Sequence[Path]) -> list[GivenCamera | None]:
        try:
            own = match_cameras(source, known, paths, at_least=min(2, len(paths)))
        except ValueError as error:
            raise InputError(str(error)) from error
        return [c if c is None else GivenCamera(**{n: getattr(c, n) for n in FIELDS}) for c in own]

    return of
