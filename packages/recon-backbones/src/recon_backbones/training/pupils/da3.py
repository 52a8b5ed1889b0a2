"""Depth Anything 3 in training."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.blocks.patches import imagenet_normalize
from recon_backbones.blocks.transformer import Block
from recon_backbones.da3.model import DA3Net
from recon_backbones.geometry.cameras import decode_pose, invert_rigid
from recon_backbones.training.losses import camera_terms, depth_terms, ray_term
from recon_backbones.training.pupils.pupil import Pupil, Way
from recon_backbones.training.targets import Targets


class DA3Pupil(Pupil):
    """A network of Depth Anything 3, whose pose encodings are camera-to-world."""

    special: int = 1

    def __init__(self, network: DA3Net) -> None:
        super().__init__(network, width=network.config.embed_dim)

    def blocks(self) -> dict[str, Block]:
        """All blocks of the vision transformer."""
        at = "network.backbone.pretrained.blocks"
        return {f"{at}.{i}": b for i, b in enumerate(self.network.backbone.pretrained.blocks)}

    def spread(self) -> list[Block]:
        """Every second block from the first alternating one on."""
        return [b for i, b in enumerate(self.blocks().values()) if self.network.config.is_global(i)]

    def trunk(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b v p d"]]:
        """Run the transformer, led by tokens of the true cameras where the way says so."""
        vit = self.network.backbone.pretrained
        given = self.network.cam_enc(targets.pose.to(self.dtype)) if way.posed else None
        tokens = vit(self._seen(images), camera_tokens=given, reference="first")
        last = tokens.levels[-1]
        camera = torch.cat([last.local[:, :, 0], last.current[:, :, 0]], dim=-1)
        patches = torch.cat([last.local[:, :, 1:], vit.norm(last.current[:, :, 1:])], dim=-1)
        return camera_terms(self.network.cam_dec(camera).float(), targets.pose), patches

    def heads(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> dict[str, Tensor]:
        """Depth, with its gradients and confidence, cameras, and rays where the way says so."""
        given = (invert_rigid(targets.camera_to_world), targets.intrinsics)
        cameras = given if way.posed else (None, None)
        output = self.network(
            self._seen(images),
            world_to_camera=cameras[0],
            intrinsics=cameras[1],
            reference="first",
            heads=("depth", "rays") if way.rays else ("depth",),
            head_chunk=64,
        )
        terms = depth_terms(
            output.depth.float().log(), output.depth_conf.float(), targets.depth, targets.valid
        )
        terms |= camera_terms(output.pose_encoding.float(), targets.pose)
        if way.rays:
            terms["rays"] = ray_term(output.rays.float(), targets)
        return terms

    @torch.inference_mode()
    def answer(
        self, images: Float[Tensor, "v 3 y x"]
    ) -> tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"]]:
        """Depth and `world_to_camera` of one scene, in float32 on the CPU."""
        seen = self._seen(images[None].to(self.probe.weight.device))
        output = self.network(seen, reference="first")
        encoded = output.pose_encoding[0].float().cpu()
        camera_to_world, _ = decode_pose(encoded, (images.shape[-2], images.shape[-1]))
        return output.depth[0].float().cpu(), invert_rigid(camera_to_world)

    def _seen(self, images: Tensor) -> Tensor:
        return imagenet_normalize(images).to(self.dtype)
