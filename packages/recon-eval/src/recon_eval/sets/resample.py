"""Bring the views of a scene to one size, cameras and depth included."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from recon_eval.depth import resize
from recon_eval.sets.scene import Scene


def resample(scene: Scene, *, height: int, width: int) -> Scene:
    """Return the scene at another size: scaled until it covers that, then cropped at its center.

    Images are filtered (bilinear, antialiased), depth and validity take the nearest pixel, and the
    intrinsics follow exactly (pixel centers at + 0.5).
    """
    if height < 1 or width < 1:
        raise ValueError(
            f"height={height}, width={width}; both must be at least 1: pass those of the truth"
        )
    old_height, old_width = scene.images.shape[2:]
    factor = max(height / old_height, width / old_width)
    rows, columns = max(height, round(old_height * factor)), max(width, round(old_width * factor))
    top, left = (rows - height) // 2, (columns - width) // 2
    window = (..., slice(top, top + height), slice(left, left + width))
    images = interpolate(
        scene.images, (rows, columns), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)
    maps = {
        name: None if value is None else resize(value, height=rows, width=columns)[window]
        for name, value in (("depth", scene.depth), ("valid", scene.valid))
    }
    return Scene(
        name=scene.name,
        images=images[window].contiguous(),
        world_to_camera=scene.world_to_camera,
        intrinsics=_follow(
            scene.intrinsics, columns / old_width, rows / old_height, shift=(left, top)
        ),
        **maps,
    )


def _follow(
    intrinsics: Float[Tensor, "v 3 3"] | None, x: float, y: float, *, shift: tuple[int, int]
) -> Float[Tensor, "v 3 3"] | None:
    if intrinsics is None:
        return None
    change = intrinsics.double().new_tensor([[x, 0, -shift[0]], [0, y, -shift[1]], [0, 0, 1]])
    return (change @ intrinsics.double()).to(intrinsics.dtype)
