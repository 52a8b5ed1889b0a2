"""Pinhole cameras as bundle adjustment turns them: where points land, and how that changes."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from recon_backbones.refine.tracks import Tracks

LOCAL = 10  # numbers of a camera: a turn, a shift, logarithms of two focal lengths, a middle
NEAR = 1e-6  # of the depth of what is seen: nearer is behind


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Poses and lenses of the views; `lens` holds fx, fy, cx, cy in pixels of the photos."""

    rotation: Float64[Tensor, "v 3 3"]
    translation: Float64[Tensor, "v 3"]
    lens: Float64[Tensor, "v 4"]

    @staticmethod
    def of(
        world_to_camera: Float64[Tensor, "v 3 4"], intrinsics: Float64[Tensor, "v 3 3"]
    ) -> "Cameras":
        """From matrices; a skew is dropped."""
        return Cameras(
            rotation=world_to_camera[:, :, :3].clone(),
            translation=world_to_camera[:, :, 3].clone(),
            lens=intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]].clone(),
        )

    @property
    def centers(self) -> Float64[Tensor, "v 3"]:
        """Where the cameras stand."""
        return -(self.rotation.mT @ self.translation[..., None])[..., 0]

    @property
    def world_to_camera(self) -> Float64[Tensor, "v 3 4"]:
        """[R | t] of each."""
        return torch.cat([self.rotation, self.translation[..., None]], dim=-1)

    @property
    def intrinsics(self) -> Float64[Tensor, "v 3 3"]:
        """The lenses as matrices."""
        matrix = self.lens.new_zeros(len(self.lens), 3, 3)
        matrix[:, [0, 1, 0, 1], [0, 1, 2, 2]] = self.lens
        matrix[:, 2, 2] = 1
        return matrix

    def __len__(self) -> int:
        return len(self.lens)

    def take(self, index: Tensor) -> "Cameras":
        """Some of them."""
        return Cameras(
            rotation=self.rotation[index],
            translation=self.translation[index],
            lens=self.lens[index],
        )

    def moved(self, step: Float64[Tensor, "v 10"]) -> "Cameras":
        """Turned and shifted in their own frames, focal lengths grown, principal points moved."""
        turn = rotation_of(step[:, :3])
        lens = self.lens.clone()
        lens[:, :2] *= step[:, 6:8].exp()
        lens[:, 2:] += step[:, 8:]
        return Cameras(
            rotation=turn @ self.rotation,
            translation=(turn @ self.translation[..., None])[..., 0] + step[:, 3:6],
            lens=lens,
        )


def rotation_of(turn: Float64[Tensor, "*b 3"]) -> Float64[Tensor, "*b 3 3"]:
    """The rotation about a vector by its length in radians."""
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    rows = (zero, -z, y, z, zero, -x, -y, x, zero)
    cross = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Errors of all observations in pixels, and how they change with cameras and points."""

    error: Float64[Tensor, "o 2"]
    by_camera: Float64[Tensor, "o 2 10"]
    by_point: Float64[Tensor, "o 2 3"]
    ahead: Bool[Tensor, " o"]


def errors(cameras: Cameras, tracks: Tracks) -> tuple[Float64[Tensor, "o 2"], Bool[Tensor, " o"]]:
    """How far each observation lies from where its point lands, and whether it is ahead."""
    local = _local(cameras, tracks)
    ahead = local[:, 2] > NEAR * local.norm(dim=1)
    z = torch.where(ahead, local[:, 2], 1.0)
    lens = cameras.lens[tracks.view]
    landed = lens[:, :2] * local[:, :2] / z[:, None] + lens[:, 2:]
    return landed - tracks.xy, ahead


def depths(cameras: Cameras, tracks: Tracks) -> Float64[Tensor, " o"]:
    """How deep each observed point lies in its view."""
    return _local(cameras, tracks)[:, 2]


def linearize(cameras: Cameras, tracks: Tracks) -> Linear:
    """Errors and their derivatives at these cameras and points."""
    local = _local(cameras, tracks)
    error, ahead = errors(cameras, tracks)
    z = torch.where(ahead, local[:, 2], 1.0)
    fx, fy = cameras.lens[tracks.view, 0], cameras.lens[tracks.view, 1]
    x, y = local[:, 0] / z, local[:, 1] / z
    zero = torch.zeros_like(x)
    rows = (fx / z, zero, -fx * x / z, zero, fy / z, -fy * y / z)
    by_local = torch.stack(rows, dim=-1).unflatten(-1, (2, 3))
    turn = -_cross(local)
    focal = torch.stack((fx * x, zero, zero, fy * y), dim=-1).unflatten(-1, (2, 2))
    middle = torch.eye(2, dtype=x.dtype, device=x.device).expand(len(x), 2, 2)
    return Linear(
        error=error,
        by_camera=torch.cat([by_local @ turn, by_local, focal, middle], dim=-1),
        by_point=by_local @ cameras.rotation[tracks.view],
        ahead=ahead,
    )


def triangulate(
    cameras: Cameras, tracks: Tracks, used: Bool[Tensor, " o"] | None = None
) -> Float64[Tensor, "p 3"]:
    """The points nearest to the rays of their observations, or of those that are used."""
    lens = cameras.lens[tracks.view]
    flat = (tracks.xy - lens[:, 2:]) / lens[:, :2]
    ray = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)
    ray = (cameras.rotation[tracks.view].mT @ ray[..., None])[..., 0]
    ray = ray / ray.norm(dim=1, keepdim=True)
    aside = torch.eye(3, dtype=ray.dtype, device=ray.device) - ray[:, :, None] * ray[:, None]
    if used is not None:
        aside = aside * used[:, None, None]
    count = len(tracks)
    matrix = aside.new_zeros(count, 3, 3).index_add_(0, tracks.point, aside)
    against = (aside @ cameras.centers[tracks.view][..., None])[..., 0]
    right = aside.new_zeros(count, 3).index_add_(0, tracks.point, against)
    slightly = 1e-9 * torch.eye(3, dtype=aside.dtype, device=aside.device)
    return torch.linalg.solve(matrix + slightly, right)


def angles(
    cameras: Cameras, tracks: Tracks, used: Bool[Tensor, " o"] | None = None
) -> Float64[Tensor, " p"]:
    """Half the width, in degrees, of the cone in which the views see each point."""
    ray = cameras.centers[tracks.view] - tracks.points[tracks.point]
    ray = ray / ray.norm(dim=1, keepdim=True).clamp_min(1e-12)
    if used is not None:
        ray = ray * used[:, None]
    count = len(tracks)
    total = ray.new_zeros(count, 3).index_add_(0, tracks.point, ray)
    middle = total / total.norm(dim=1, keepdim=True).clamp_min(1e-12)
    apart = torch.rad2deg((ray * middle[tracks.point]).sum(1).clamp(-1, 1).arccos())
    if used is not None:
        apart = apart * used
    widest = apart.new_zeros(count)
    return widest.scatter_reduce_(0, tracks.point, apart, reduce="amax")


def _local(cameras: Cameras, tracks: Tracks) -> Float64[Tensor, "o 3"]:
    """Points in the frames of the views that see them."""
    world = tracks.points[tracks.point][..., None]
    return (cameras.rotation[tracks.view] @ world)[..., 0] + cameras.translation[tracks.view]


def _cross(vector: Float64[Tensor, "o 3"]) -> Float64[Tensor, "o 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = (zero, -z, y, z, zero, -x, -y, x, zero)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
