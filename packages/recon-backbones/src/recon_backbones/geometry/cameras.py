"""Camera algebra: rigid inverses, nine-number pose encodings, unprojection, checks.

Frames are OpenCV (x right, y down, z forward). Pixels count from the outer edge of the first one,
whose center is at (0.5, 0.5).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon_backbones.blocks.precision import in_float64, without_autocast
from recon_backbones.checks import Axes, check_device, check_tensor, is_readable
from recon_backbones.geometry.quaternions import (
    matrix_from_rows,
    quaternion_from_rotation,
    rotation_from_quaternion,
)


def invert_rigid(transform: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 3 4"]:
    """Invert [R | t]: a world-to-camera becomes a camera-to-world, and back."""
    rotation = transform[..., :3].mT
    return torch.cat((rotation, -rotation @ transform[..., 3:]), dim=-1)


def first_is_origin(world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
    """The same cameras in the frame of the first: E_i E_0^-1."""
    bottom = world_to_camera.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(world_to_camera), 1, 4)
    square = torch.cat((world_to_camera, bottom), dim=1)
    return (square @ torch.linalg.inv(square[0]))[:, :3]


def in_moved_world(
    world_to_camera: Float[Tensor, "v 3 4"], shift: Float[Tensor, "3"]
) -> Float[Tensor, "v 3 4"]:
    """The same cameras where every place of the world is moved by `shift`."""
    rotation, translation = world_to_camera[..., :3], world_to_camera[..., 3:]
    return torch.cat((rotation, translation - rotation @ shift[:, None]), dim=-1)


def encode_pose(
    transform: Float[Tensor, "*batch 3 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_size: tuple[int, int],
) -> Float[Tensor, "*batch 9"]:
    """Pack [R | t] and K as translation, quaternion (x, y, z, w), and fields of view (y, x).

    Angles are in radians; the principal point and the skew are dropped.
    """
    height, width = image_size
    fov_y = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    fov_x = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = quaternion_from_rotation(transform[..., :3])
    fov = torch.stack((fov_y, fov_x), dim=-1)
    return torch.cat((transform[..., 3], quaternion, fov), dim=-1)


def decode_pose(
    encoding: Float[Tensor, "*batch 9"], image_size: tuple[int, int], *, tan_floor: float = 0.0
) -> tuple[Float[Tensor, "*batch 3 4"], Float[Tensor, "*batch 3 3"]]:
    """Unpack what `encode_pose` packs; the principal point is the image's center.

    The tangent of half a field of view is at least `tan_floor`; with floor 0 a zero field of view
    gives an infinite focal length.
    """
    height, width = image_size
    rotation = rotation_from_quaternion(encoding[..., 3:7])
    transform = torch.cat((rotation, encoding[..., :3, None]), dim=-1)
    tangent = torch.tan(encoding[..., 7:] / 2).clamp_min(tan_floor)
    focal_y = height / 2 / tangent[..., 0]
    focal_x = width / 2 / tangent[..., 1]
    return transform, pinhole(focal_x, focal_y, image_size)


def pinhole(
    focal_x: Float[Tensor, "*batch"], focal_y: Float[Tensor, "*batch"], image_size: tuple[int, int]
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics with the principal point in the middle of an image (height, width)."""
    height, width = image_size
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    rows = (focal_x, zero, one * (width / 2), zero, focal_y, one * (height / 2), zero, zero, one)
    return matrix_from_rows(rows)


def unproject(
    depth: Float[Tensor, "*batch y x"],
    world_to_camera: Float[Tensor, "*batch 3 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    *,
    pixel_center: float = 0.5,
) -> Float[Tensor, "*batch y x 3"]:
    """World points of every pixel, in the unit of the depth.

    The pixel in column x and row y has its center at (x, y) + `pixel_center`. The exports of both
    model families unproject whole numbers, `pixel_center=0`, although their principal point is the
    middle of the image.

    Raises ValueError for tensors of other shapes, types or devices than one another.
    """
    axes = Axes()
    axes.check(depth, "depth", "... y x")
    axes.check(world_to_camera, "world_to_camera", "... 3 4")
    axes.check(intrinsics, "intrinsics", "... 3 3")
    height, width = depth.shape[-2:]
    u = torch.arange(width, dtype=depth.dtype, device=depth.device) + pixel_center
    v = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None] + pixel_center
    k = intrinsics[..., None, None, :, :]
    x = (u - k[..., 0, 2]) / k[..., 0, 0] * depth
    y = (v - k[..., 1, 2]) / k[..., 1, 1] * depth
    in_camera = torch.stack((x, y, depth), dim=-1)
    with without_autocast(depth):  # it would round points to 16 bits
        camera_to_world = invert_rigid(world_to_camera)[..., None, None, :, :]
        turned = (camera_to_world[..., :3] @ in_camera.unsqueeze(-1)).squeeze(-1)
    return turned + camera_to_world[..., 3]


def check_cameras(
    images: Tensor, world_to_camera: Tensor | None, intrinsics: Tensor | None
) -> None:
    """Refuse cameras that do not belong to the images or are no rigid pinhole cameras.

    Raises ValueError naming the tensor, the value and the rule.
    """
    if (world_to_camera is None) != (intrinsics is None):
        missing = "world_to_camera" if world_to_camera is None else "intrinsics"
        raise ValueError(f"{missing} is missing; cameras are two tensors: give both or neither")
    if world_to_camera is None or intrinsics is None:
        return
    for name, value in (("world_to_camera", world_to_camera), ("intrinsics", intrinsics)):
        check_device(check_tensor(value, name), name, images.device, "images")
    unknown = not is_readable(world_to_camera)  # the values
    b, v = images.shape[:2]
    for name, given, shape in (
        ("world_to_camera", world_to_camera, (b, v, 3, 4)),
        ("intrinsics", intrinsics, (b, v, 3, 3)),
    ):
        if tuple(given.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}; the images need {shape}: give one "
                "camera a view"
            )
        if not given.is_floating_point():
            raise ValueError(
                f"{name}=tensor of {given.dtype}; it must be floating point: give {name}.float()"
            )
        if not (unknown or given.isfinite().all()):
            raise ValueError(
                f"{name} holds NaN or infinity; it must be finite: leave such views out"
            )
    if unknown:
        return
    check_rotations(world_to_camera[..., :3], "world_to_camera")
    focal = torch.stack((intrinsics[..., 0, 0], intrinsics[..., 1, 1]))
    if (focal <= 0).any():
        raise ValueError(
            f"intrinsics has focal length {focal.min().item():g}; it must be positive: give "
            "pinhole intrinsics in pixels"
        )
    below = torch.stack((*intrinsics[..., 2, :2].unbind(-1), intrinsics[..., 2, 2] - 1))
    if (below.abs() > 1e-3).any():
        raise ValueError(
            "intrinsics has another last row than 0 0 1; it must be that: give pinhole intrinsics "
            "in pixels, not transposed"
        )


def check_rotations(rotation: Float[Tensor, "*batch 3 3"], name: str) -> None:
    """Refuse matrices that are further than 1e-3 from a rotation."""
    r = in_float64(rotation)
    identity = torch.eye(3, dtype=r.dtype, device=r.device)
    error = (r @ r.mT - identity).abs().amax((-2, -1))
    bad = (error > 1e-3) | (torch.linalg.det(r) < 0)
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name}{where} is no rotation; R R^T differs from 1 by "
            f"{error.max().item():.3g}, or it mirrors: give OpenCV world-to-camera [R | t]"
        )


def normalize_scene(
    world_to_camera: Float[Tensor, "b v 3 4"],
) -> Float[Tensor, "b v 3 4"]:
    """Express cameras in the first camera's frame, at a median camera distance of one.

    Distances are those from the first camera. Of an even number the lower median counts; where
    that is nothing, as of two views, 0.1 does, as upstream. Upstream divides by no less than that,
    so that what it answers depends on the unit; here it does for two views alone.
    """
    full = F.pad(world_to_camera, (0, 0, 0, 1))
    full[..., 3, 3] = 1
    first = F.pad(invert_rigid(world_to_camera[:, :1]), (0, 0, 0, 1))
    first[..., 3, 3] = 1
    relative = (full @ first)[..., :3, :]
    distance = invert_rigid(relative)[..., 3].norm(dim=-1).sort(dim=1).values  # [b v]
    resolved = 16 * torch.finfo(distance.dtype).eps * world_to_camera[..., 3].abs().amax((1, 2))
    unit = distance[:, (distance.shape[1] - 1) // 2]  # a median of PyTorch may vary
    unit = torch.where(unit > resolved, unit, 0.1)
    return torch.cat((relative[..., :3], relative[..., 3:] / unit[:, None, None, None]), dim=-1)
