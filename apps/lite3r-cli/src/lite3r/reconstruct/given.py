"""Cameras from a file, as a reconstruction takes them."""

from collections.abc import Sequence
from pathlib import Path

from recon_backbones import GivenCamera
from recon_backbones.photos import CamerasOf

from ..errors import reported
from ..inputs import match_cameras, read_cameras


def cameras_from(path: Path) -> CamerasOf:
    """Read cameras, to be matched with photos by name. Raises ValueError or OSError."""
    known = read_cameras(path)

    def of(paths: Sequence[Path]) -> list[GivenCamera | None]:
        with reported():
            matched = match_cameras(known, paths, at_least=min(2, len(paths)))
        found = {
            path: GivenCamera(
                name=camera.name,
                world_to_camera=camera.world_to_camera,
                intrinsics=camera.intrinsics,
                size=camera.size,
            )
            for path, camera in zip(matched.paths, matched.cameras, strict=True)
        }
        return [found.get(path) for path in paths]

    return of
