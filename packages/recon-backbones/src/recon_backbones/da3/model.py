"""The Depth Anything 3 network: transformer, camera modules and dense heads put together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.backbone import Reference
from recon_backbones.blocks.precision import without_autocast
from recon_backbones.blocks.transformer import init_transformer
from recon_backbones.da3.cameras import CameraDecoder, CameraEncoder
from recon_backbones.da3.config import DA3Config
from recon_backbones.da3.gaussian import GaussianDpt, RawGaussians
from recon_backbones.da3.head import Depth, DualDpt, Rays
from recon_backbones.da3.vit import Tokens, VisionTransformer
from recon_backbones.geometry.cameras import encode_pose, invert_rigid


@dataclass(frozen=True, kw_only=True)
class DA3Output:
    """Everything the network computes, before conversion to cameras.

    `pose_encoding` is camera-to-world: translation, quaternion (x, y, z, w) of any length, fields
    of view (y, x) in radians. Rays come at 8 samples per patch side. `features` are the normalized
    patch tokens of the blocks asked for, in raster order. `reference` is the leading view.
    """

    depth: Float[Tensor, "b v y x"]
    depth_conf: Float[Tensor, "b v y x"]
    pose_encoding: Float[Tensor, "b v 9"]
    rays: Float[Tensor, "b v Y X 6"] | None
    rays_conf: Float[Tensor, "b v Y X"] | None
    gaussians: RawGaussians | None
    features: dict[int, Float[Tensor, "b v n c"]]
    camera_features: Float[Tensor, "b v d"]
    reference: Int64[Tensor, " b"]


class _Pretrained(nn.Module):
    """The level of naming that the public checkpoints put above the transformer."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(config)


class DA3Net(nn.Module):
    """Depth Anything 3 on normalized images, with the names of the public checkpoints."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = _Pretrained(config)
        self.head = DualDpt(config)
        self.cam_dec = CameraDecoder(2 * config.embed_dim)
        self.cam_enc = CameraEncoder(config)
        if config.gaussian_head:
            self.gs_head = GaussianDpt(config)

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        heads: Sequence[str] = ("depth",),
        features: Sequence[int] = (),
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference = "saddle_balanced",
        head_chunk: int = 8,
    ) -> DA3Output:
        """Run the network; `heads` names the dense heads to compute.

        Known heads are "depth" (always computed), "rays" and "gaussians".
        """
        size = (images.shape[-2], images.shape[-1])
        camera_tokens = None
        if world_to_camera is not None and intrinsics is not None:
            with without_autocast(images):
                encoding = encode_pose(invert_rigid(world_to_camera), intrinsics, size)
                camera_tokens = self.cam_enc(encoding)
        tokens = self.backbone.pretrained(
            images, camera_tokens=camera_tokens, reference=reference, features=features
        )
        with without_autocast(images):
            return self._heads(tokens, images, heads, head_chunk)

    def _heads(self, tokens: Tokens, images: Tensor, heads: Sequence[str], chunk: int) -> DA3Output:
        b, v = images.shape[:2]
        depths: list[Depth] = []
        rays: list[Rays] = []
        gaussians: list[RawGaussians] = []
        size = (images.shape[-2], images.shape[-1])
        for start in range(0, b * v, chunk):
            rows = torch.arange(start, min(start + chunk, b * v), device=images.device)
            levels = [self._level(tokens, i, rows) for i in range(4)]
            laterals = self.head.laterals(levels, tokens.grid, size[1] / size[0])
            depths.append(self.head.depth(laterals, size))
            if "rays" in heads:
                rays.append(self.head.rays(laterals, size))
            if "gaussians" in heads:
                gaussians.append(self._gaussians(levels, tokens, images, rows, size))
        depth, depth_conf = _join(depths, b, v)
        ray, ray_conf = _join(rays, b, v) if rays else (None, None)
        camera = self._camera_features(tokens)
        return DA3Output(
            depth=depth,
            depth_conf=depth_conf,
            pose_encoding=self.cam_dec(camera),
            rays=ray,
            rays_conf=ray_conf,
            gaussians=RawGaussians(*_join(gaussians, b, v)) if gaussians else None,
            features=tokens.features,
            camera_features=camera,
            reference=tokens.reference,
        )

    def _gaussians(
        self,
        levels: Sequence[Tensor],
        tokens: Tokens,
        images: Tensor,
        rows: Tensor,
        size: tuple[int, int],
    ) -> RawGaussians:
        laterals = self.gs_head.laterals(levels, tokens.grid, size[1] / size[0])
        return self.gs_head.gaussians(
            laterals, rearrange(images, "b v c y x -> (b v) c y x")[rows], size
        )

    def _level(self, tokens: Tokens, index: int, rows: Tensor) -> Float[Tensor, "r n d"]:
        """Patch tokens of some input views: the local half raw, the current half normalized."""
        level = tokens.levels[index]
        scene, place = rows // level.views.shape[1], level.views.flatten()[rows]
        local, current = (_of_views(half, scene, place)[:, 1:] for half in level.halves)
        joined = torch.cat((local, self.backbone.pretrained.norm(current)), dim=-1)
        joined = joined.to(self.head.norm.get_parameter("weight").dtype)
        return joined if tokens.raster is None else joined[:, tokens.raster]

    def _camera_features(self, tokens: Tokens) -> Float[Tensor, "b v d"]:
        """Both halves of the special token of the last level, raw."""
        level = tokens.levels[-1]
        scene = torch.arange(len(level.views), device=level.views.device)[:, None]
        halves = (half[:, :, 0] for half in level.halves)
        return torch.cat([_of_views(half, scene, level.views) for half in halves], dim=-1)

    def init_weights(self) -> None:
        """Draw weights for training from scratch, from the global random state."""
        init_transformer(self)
        vit = self.backbone.pretrained
        for token in (vit.cls_token, vit.camera_token, vit.pos_embed):
            nn.init.trunc_normal_(token, std=0.02)
        self.cam_dec.init()


def _of_views(half: Tensor, scene: Tensor, place: Tensor) -> Tensor:
    """Tokens of some views on the device of their numbers, wherever the tokens wait."""
    waiting = half.device
    return half[scene.to(waiting), place.to(waiting)].to(place.device)


def _join(parts: Sequence[tuple[Tensor, Tensor]], b: int, v: int) -> tuple[Tensor, Tensor]:
    first, second = zip(*parts, strict=True)
    joined = (torch.cat(first), torch.cat(second))
    first_joined, second_joined = (rearrange(t, "(b v) ... -> b v ...", b=b, v=v) for t in joined)
    return first_joined, second_joined
