"""Known cameras: what was written before comes back for the photos of the same names."""

from pathlib import Path

import numpy as np
import pytest

from lite3r.reconstruct.cameras import cameras_from
from recon_backbones import InputError
from recon_eval.formats import Camera, write_transforms


def test_what_is_written_gives_its_cameras_back(tmp_path: Path) -> None:
    cameras = [
        Camera(
            name=name,
            world_to_camera=np.eye(4)[:3],
            intrinsics=np.array([[90.0, 0, 40], [0, 90.0, 30], [0, 0, 1]]),
            size=(80, 60),
        )
        for name in ("a.jpg", "b/c.jpg")
    ]
    write_transforms(tmp_path / "transforms.json", cameras)
    found = cameras_from(tmp_path)([Path("/photos") / camera.name for camera in cameras])
    for given, camera in zip(found, cameras, strict=True):
        assert given is not None
        np.testing.assert_allclose(given.world_to_camera, camera.world_to_camera, atol=1e-6)
        np.testing.assert_allclose(given.intrinsics, camera.intrinsics)
        assert given.size == camera.size
    with pytest.raises(InputError, match="cameras for other images"):
        cameras_from(tmp_path)([Path("/photos/x.jpg"), Path("/photos/y.jpg")])
