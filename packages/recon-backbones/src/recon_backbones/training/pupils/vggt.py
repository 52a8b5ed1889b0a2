"""VGGT in training."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon_backbones.blocks.transformer import Block
from recon_backbones.geometry.cameras import encode_pose, invert_rigid
from recon_backbones.geometry.quaternions import rotation_from_quaternion
from recon_backbones.training.losses import (
    camera_terms,
    depth_terms,
    faded,
    masked_mean,
    pose_term,
)
from recon_backbones.training.pupils.pupil import Pupil, Way
from recon_backbones.training.pupils.tracks import followed, track_terms
from recon_backbones.training.targets import Targets, world_points
from recon_backbones.vggt.backbone import Vggt

CHUNK = 64  # views in the dense heads at once
FADE = 0.6
"""Weight of a pass of the camera head, of that of the pass behind it."""


class VggtPupil(Pupil):
    """A network of VGGT, whose pose encodings are world-to-camera. It takes no cameras."""

    def __init__(self, network: Vggt) -> None:
        super().__init__(network, width=network.config.embed_dim)
        self.special = network.config.special_tokens

    def bfloat16(self) -> "VggtPupil":
        """Round the weights; camera head and tracker, small and exact, stay in float32."""
        super().bfloat16()
        self.network.camera_head.float()
        self.network.track_head.tracker.float()
        return self

    def blocks(self) -> dict[str, Block]:
        """The blocks of the image encoder, those within views, and those over all."""
        trunk = self.network.aggregator
        parts = {
            "patch_embed.blocks": trunk.patch_embed.blocks,
            "frame_blocks": trunk.frame_blocks,
            "global_blocks": trunk.global_blocks,
        }
        return {
            f"network.aggregator.{name}.{i}": block
            for name, part in parts.items()
            for i, block in enumerate(part)
        }

    def spread(self) -> list[Block]:
        """The global block of every pair."""
        return list(self.network.aggregator.global_blocks)

    def trunk(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b v p d"]]:
        """Run the trunk and the camera head."""
        tokens = self.network.trunk(images)
        last = tokens.pairs[-1]
        patches = torch.cat([last.frame, last.spread], dim=-1)[:, :, self.special :]
        terms = _camera_terms(self.network.camera_head(tokens.camera), targets)
        return terms, F.layer_norm(patches, patches.shape[-1:])

    def heads(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> dict[str, Tensor]:
        """Depth, with its gradients and confidence, and cameras; points and tracks by the way."""
        heads = ("depth", "points") if way.rays else ("depth",)
        tokens = self.network.trunk(images)
        output = self.network.read(tokens, images, heads, CHUNK)
        terms = depth_terms(output.depth.log(), output.depth_conf, targets.depth, targets.valid)
        terms |= _camera_terms(output.pose_encodings, targets)
        if way.rays:
            terms["points"] = points_term(output.points, output.points_conf, targets)
            goal = followed(targets)
            found = self.network.follow(tokens, images, goal.at[:, 0], CHUNK)
            terms |= track_terms(found, goal)
        return terms

    @torch.inference_mode()
    def answer(
        self, images: Float[Tensor, "v 3 y x"]
    ) -> tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"]]:
        """Depth and `world_to_camera` of one scene, in float32 on the CPU."""
        found = self.network(images[None].to(self.probe.weight.device))
        return found.depth[0].float().cpu(), found.world_to_camera[0].float().cpu()


def _camera_terms(
    encodings: Sequence[Float[Tensor, "b v 9"]], targets: Targets
) -> dict[str, Tensor]:
    """Every pass has a say in the pose, as VGGT trains it; the last alone in the other terms."""
    size = (targets.depth.shape[-2], targets.depth.shape[-1])
    goal = encode_pose(invert_rigid(targets.camera_to_world), targets.intrinsics, size)
    last = encodings[-1].float()
    poses = [pose_term(encoding.float(), goal) for encoding in encodings]
    terms = camera_terms(inverted(last), targets.pose)
    return terms | {"pose": faded(poses, FADE)}


def inverted(encoding: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v 9"]:
    """The encoding of the inverse transform: world-to-camera to camera-to-world, and back."""
    translation, quaternion, view = encoding.split([3, 4, 2], dim=-1)
    rotation = rotation_from_quaternion(quaternion)
    moved = -(rotation.mT @ translation[..., None])[..., 0]
    turned = torch.cat((-quaternion[..., :3], quaternion[..., 3:]), dim=-1)
    return torch.cat((moved, turned, view), dim=-1)


def points_term(
    points: Float[Tensor, "b v y x 3"], confidence: Float[Tensor, "b v y x"], targets: Targets
) -> Tensor:
    """L1 of points as the head answers them, sign(p) log(1 + |p|), and a fitted confidence."""
    error = (_shrunk(points) - _shrunk(world_points(targets))).abs().mean(-1)
    fitted = confidence * error.detach() - 0.05 * confidence.log()
    return masked_mean(error, targets.valid) + 0.05 * masked_mean(fitted, targets.valid)


def _shrunk(points: Tensor) -> Tensor:
    return points.sign() * points.abs().log1p()
