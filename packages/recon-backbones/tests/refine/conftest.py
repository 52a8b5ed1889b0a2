"""A room, and photos of it."""

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from recon_backbones import Reconstruction
from recon_backbones.geometry.cameras import first_is_origin
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.refine.model import Cameras

from ..rooms import room
from .rings import noisy


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reconstruction, Tensor]:
    """A room with its photos on disk, cameras a little wrong, depth of another unit; the truth."""
    folder = tmp_path_factory.mktemp("photos")
    truth = room(4, 240, 320, finest=6.0)
    names = tuple(f"{number}.png" for number in range(4))
    pixels = (truth.images.permute(0, 2, 3, 1) * 255).byte().numpy()
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(folder / name)
    poses = first_is_origin(truth.world_to_camera.double())
    start = noisy(Cameras.of(poses, truth.intrinsics.double()), 0.01)
    small = truth.depth[:, ::2, ::2].numpy()
    pixel_map = PixelMap(photo=(240, 320), size=(120, 160), scale_x=0.5, scale_y=0.5)
    made = Reconstruction(
        photos=names,
        root=folder,
        world_to_camera=first_is_origin(start.world_to_camera).numpy(),
        intrinsics=start.intrinsics.numpy(),
        sizes=((320, 240),) * 4,
        images=np.ascontiguousarray(pixels[:, ::2, ::2]),
        depth=small,
        confidence=np.ones_like(small),
        keep=np.ones(small.shape, dtype=bool),
        intrinsics_seen=np.stack(
            [pixel_map.intrinsics_from_photo(k).numpy() for k in start.intrinsics]
        ),
        maps=(pixel_map,) * 4,
        unit="the network's own",
    )
    return made, poses
