"""Gaussian splats in the world: what they are, and how they follow from raw parameters per pixel.

Source: 3D Gaussian Splatting (arXiv 2308.04079); the adapter of Depth Anything 3 Giant.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recon_backbones.geometry.cameras import (
    invert_rigid,
)
from recon_backbones.geometry.harmonics import rotate_harmonics
from recon_backbones.geometry.quaternions import quaternion_from_rotation, rotation_from_quaternion

_SMALLEST, _LARGEST = 1e-5, 30.0  # of a splat, in tenths of a pixel's footprint
_BANDS = (1.0,) + (0.1 * 0.25,) * 3 + (0.1 * 0.25**2,) * 5


@dataclass(frozen=True, kw_only=True)
class Splats:
    """Gaussians of scenes, `n` = views x height x width of them in raster order, view after view.

    `means` are world points and `scales` standard deviations along a splat's own axes, both in the
    unit of the depth. `quaternions_wxyz` turn those axes into the world, as gsplat reads them.
    `opacities` lie in (0, 1). `harmonics` are spherical harmonics of red, green and blue to the
    second degree, in the world, ordered and signed as in 3-D Gaussian splatting: color is their
    product with the basis in the direction from camera to splat, plus one half.
    """

    means: Float[Tensor, "b n 3"]
    scales: Float[Tensor, "b n 3"]
    quaternions_wxyz: Float[Tensor, "b n 4"]
    opacities: Float[Tensor, "b n"]
    harmonics: Float[Tensor, "b n 3 9"]

    def to(self, target: torch.device | torch.dtype | str) -> "Splats":
        """Move or cast every tensor."""
        return Splats(
            means=self.means.to(target),
            scales=self.scales.to(target),
            quaternions_wxyz=self.quaternions_wxyz.to(target),
            opacities=self.opacities.to(target),
            harmonics=self.harmonics.to(target),
        )

    def scaled(self, scale: Float[Tensor, " b"]) -> "Splats":
        """Change the unit of each scene: lengths are multiplied by its scale."""
        s = scale.to(self.means.dtype)[:, None, None]
        return Splats(
            means=self.means * s,
            scales=self.scales * s,
            quaternions_wxyz=self.quaternions_wxyz,
            opacities=self.opacities,
            harmonics=self.harmonics,
        )


def world_splats(
    raw: Float[Tensor, "b v y x 37"],
    opacity: Float[Tensor, "b v y x"],
    depth: Float[Tensor, "b v y x"],
    world_to_camera: Float[Tensor, "b v 3 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
) -> Splats:
    """Place one splat a pixel in the world.

    `raw` holds, per pixel: an offset in pixels (x, y), three scales before their sigmoid, a
    quaternion, 27 harmonics in the camera's frame (color by color), and an offset of depth.
    `depth` and the cameras share one unit; the offset is added in it. As the public weights were
    trained, the sum is the distance along the pixel's ray, and not its z-depth.
    """
    distance = depth + raw[..., 36]
    camera_to_world = invert_rigid(world_to_camera)
    rotation = camera_to_world[..., None, None, :, :3]
    directions = _rays(raw[..., :2], intrinsics)
    turned = (rotation @ directions[..., None])[..., 0]
    means = camera_to_world[:, :, None, None, :, 3] + turned * distance[..., None]
    share = _SMALLEST + (_LARGEST - _SMALLEST) * raw[..., 2:5].sigmoid()
    footprint = (0.1 * _pixel(intrinsics))[:, :, None, None, None] * distance[..., None]
    bands = raw.new_tensor(_BANDS)
    harmonics = rearrange(raw[..., 9:36], "... (color band) -> ... color band", color=3) * bands
    return Splats(
        means=_in_a_row(means),
        scales=_in_a_row(share * footprint),
        quaternions_wxyz=_in_a_row(_world_quaternions(raw[..., 5:9], rotation)),
        opacities=_in_a_row(opacity),
        harmonics=_in_a_row(rotate_harmonics(harmonics, camera_to_world[..., :3])),
    )


def _in_a_row(values: Float[Tensor, "b v y x *rest"]) -> Float[Tensor, "b n *rest"]:
    """One splat a pixel, view after view."""
    return rearrange(values, "b v y x ... -> b (v y x) ...")


def _rays(
    offset: Float[Tensor, "b v y x 2"], intrinsics: Float[Tensor, "b v 3 3"]
) -> Float[Tensor, "b v y x 3"]:
    """Unit directions through pixel centers moved by an offset, in the camera's frame."""
    height, width = offset.shape[2:4]
    u = torch.arange(width, dtype=offset.dtype, device=offset.device) + 0.5
    v = torch.arange(height, dtype=offset.dtype, device=offset.device)[:, None] + 0.5
    x, y = u + offset[..., 0], v + offset[..., 1]
    inverse = torch.linalg.inv(intrinsics)[:, :, None, None]
    rays = (inverse @ torch.stack((x, y, torch.ones_like(x)), dim=-1)[..., None])[..., 0]
    return rays / rays.norm(dim=-1, keepdim=True)


def _pixel(intrinsics: Float[Tensor, "b v 3 3"]) -> Float[Tensor, "b v"]:
    """Width plus height of a pixel at distance one."""
    return torch.linalg.inv(intrinsics[..., :2, :2]).sum((-2, -1))


def _world_quaternions(
    raw: Float[Tensor, "b v y x 4"], camera_to_world: Float[Tensor, "b v 1 1 3 3"]
) -> Float[Tensor, "b v y x 4"]:
    """Turn a splat's axes from the camera's frame into the world's.

    The public weights are trained for a conversion that moves the last number to the front, reads
    the four as (x, y, z, w), turns, and hands them on to a renderer that reads (w, x, y, z).
    """
    unit = raw / (raw.norm(dim=-1, keepdim=True) + 1e-8)
    in_camera = rotation_from_quaternion(unit.roll(1, dims=-1))
    return quaternion_from_rotation(camera_to_world @ in_camera)
