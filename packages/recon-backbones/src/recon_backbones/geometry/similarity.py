"""Similarities of space: maps of points and cameras, and their logarithms.

As a matrix, a similarity is [[s R, t], [0, 1]]; its logarithm (v, w, l) has the turn w in radians,
l = log s, and v with t = V v, where V is the integral of exp(x (l + [w])) over x from 0 to 1.
Source: Strasdat, Montiel and Davison, "Scale drift-aware large scale monocular SLAM", RSS 2010.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from recon_backbones.geometry.quaternions import quaternion_from_rotation

FLAT = 1e-12  # half angles below which a turn has no axis


@dataclass(frozen=True, kw_only=True)
class SimilarityMap:
    """The map p -> scale * rotation @ p + translation, in float64."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def apply(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """Map points."""
        return self.scale * points.double() @ self.rotation.T + self.translation

    def apply_to_cameras(self, world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
        """Move cameras into the target's world; depths seen by them grow by `scale`."""
        rotation = world_to_camera[:, :, :3].double() @ self.rotation.T
        centers = self.apply(camera_centers(world_to_camera))
        return torch.cat((rotation, -rotation @ centers[..., None]), dim=-1)

    @property
    def matrix(self) -> Float64[Tensor, "4 4"]:
        """[[s R, t], [0, 1]]."""
        matrix = torch.eye(4, dtype=torch.float64, device="cpu")
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    @staticmethod
    def identity() -> "SimilarityMap":
        """The map that changes nothing."""
        return SimilarityMap(
            scale=1.0,
            rotation=torch.eye(3, dtype=torch.float64, device="cpu"),
            translation=torch.zeros(3, dtype=torch.float64, device="cpu"),
        )

    @staticmethod
    def of(matrix: Float64[Tensor, "4 4"]) -> "SimilarityMap":
        """From such a matrix."""
        scale = float(torch.linalg.det(matrix[:3, :3])) ** (1 / 3)
        return SimilarityMap(
            scale=scale, rotation=matrix[:3, :3] / scale, translation=matrix[:3, 3].clone()
        )

    def __matmul__(self, other: "SimilarityMap") -> "SimilarityMap":
        """First the other, then this."""
        return SimilarityMap(
            scale=self.scale * other.scale,
            rotation=self.rotation @ other.rotation,
            translation=self.apply(other.translation[None])[0],
        )

    @property
    def inverse(self) -> "SimilarityMap":
        """The way back."""
        turn = self.rotation.T
        return SimilarityMap(
            scale=1 / self.scale,
            rotation=turn,
            translation=-(turn @ self.translation) / self.scale,
        )


def camera_centers(world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3"]:
    """Where cameras stand in the world, in float64."""
    cameras = world_to_camera.double()
    return -(cameras[:, :, :3].mT @ cameras[:, :, 3:])[..., 0]


def similarity_exp(logarithm: Float64[Tensor, "*b 7"]) -> Float64[Tensor, "*b 4 4"]:
    """The matrix of a similarity from its logarithm."""
    matrix = logarithm.new_zeros(*logarithm.shape[:-1], 4, 4)
    matrix[..., :3, :3] = _generator(logarithm[..., 3:6], logarithm[..., 6])
    matrix[..., :3, 3] = logarithm[..., :3]
    return torch.linalg.matrix_exp(matrix)


def similarity_log(matrix: Float64[Tensor, "*b 4 4"]) -> Float64[Tensor, "*b 7"]:
    """The logarithm of a similarity, of its turn by less than 180 degrees."""
    growth = torch.linalg.det(matrix[..., :3, :3]).log() / 3
    turn = _turn(matrix[..., :3, :3] / growth.exp()[..., None, None])
    both = growth.new_zeros(*growth.shape, 6, 6)
    both[..., :3, :3] = _generator(turn, growth)
    both[..., :3, 3:] = torch.eye(3, dtype=both.dtype, device=both.device)
    integral = torch.linalg.matrix_exp(both)[..., :3, 3:]
    shift = torch.linalg.solve(integral, matrix[..., :3, 3:])[..., 0]
    return torch.cat([shift, turn, growth[..., None]], dim=-1)


def _generator(
    turn: Float64[Tensor, "*b 3"], growth: Float64[Tensor, "*b"]
) -> Float64[Tensor, "*b 3 3"]:
    """l + [w]."""
    x, y, z = turn.unbind(-1)
    rows = (growth, -z, y, z, growth, -x, -y, x, growth)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _turn(rotation: Float64[Tensor, "*b 3 3"]) -> Float64[Tensor, "*b 3"]:
    """The vector about which a rotation turns, by its length in radians."""
    quaternion = quaternion_from_rotation(rotation)
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    length = quaternion[..., :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, quaternion[..., 3:])
    factor = torch.where(length > FLAT, angle / length.clamp_min(FLAT), 2.0)
    return quaternion[..., :3] * factor
