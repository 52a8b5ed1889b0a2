"""VGGT as a backbone: images in [0, 1] to depth, points, cameras and tracks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.backbone import (
    AttentionSite,
    Backbone,
    Reference,
    check_choice,
    check_heads,
    check_images,
)
from recon_backbones.blocks.patches import imagenet_normalize
from recon_backbones.blocks.precision import without_autocast
from recon_backbones.blocks.token_order import TokenOrder, check_order
from recon_backbones.blocks.transformer import init_transformer
from recon_backbones.errors import InputError
from recon_backbones.geometry.cameras import decode_pose
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.prediction import Prediction
from recon_backbones.vggt.aggregator import Aggregator, Tokens
from recon_backbones.vggt.camera_head import CameraHead
from recon_backbones.vggt.config import VggtConfig
from recon_backbones.vggt.dense_heads import Dense, DenseHead, FeatureHead, depth_of, points_of
from recon_backbones.vggt.preprocess import VggtPreprocess
from recon_backbones.vggt.tracker import Tracker, Tracks


@dataclass(frozen=True, kw_only=True)
class VggtOutput:
    """What the network computes, before conversion to cameras.

    `pose_encodings` are world-to-camera, one per pass of the camera head: translation, quaternion
    (x, y, z, w) of any length, fields of view (y, x) in radians.
    """

    pose_encodings: list[Float[Tensor, "b v 9"]]
    depth: Float[Tensor, "b v y x"]
    depth_conf: Float[Tensor, "b v y x"]
    points: Float[Tensor, "b v y x 3"] | None
    points_conf: Float[Tensor, "b v y x"] | None


class TrackHead(nn.Module):
    """Feature map and tracker."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        self.feature_extractor = FeatureHead(config)
        self.tracker = Tracker(config.track)


class Vggt(Backbone):
    """VGGT (arXiv 2503.11651); state-dict names are the public ones."""

    family: ClassVar[str] = "vggt"
    photo_size: ClassVar[int] = 518

    def __init__(self, name: str, config: VggtConfig) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.patch_size = config.patch_size
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.point_head = DenseHead(config, outputs=3)
        self.depth_head = DenseHead(config, outputs=1)
        self.track_head = TrackHead(config)

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        with_points: bool = False,
        head_chunk: int = 8,
    ) -> Prediction:
        """Reconstruct scenes; the world is near the first view's frame, its unit the scene's size.

        `with_points` also runs the point head. Raises ValueError for images that break the rules,
        for given cameras, which this network cannot take, and for a
        `reference` other than "first", which leads here always.
        """
        if world_to_camera is not None or intrinsics is not None:
            raise InputError(
                f"{self.name} takes no cameras; it finds them itself: leave them out, or use a "
                "da3 backbone"
            )
        check_choice("reference", reference or "first", ("first",))
        heads = ("depth", "points") if with_points else ("depth",)
        output = self._run(images, heads, head_chunk)
        size = (images.shape[-2], images.shape[-1])
        found, intrinsics = decode_pose(output.pose_encodings[-1], size, tan_floor=1e-6)
        return Prediction(
            depth=output.depth,
            depth_conf=output.depth_conf,
            world_to_camera=found,
            intrinsics=intrinsics,
            points=output.points,
            points_conf=output.points_conf,
        )

    def internals(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        heads: Sequence[str] = ("depth",),
        head_chunk: int = 8,
    ) -> VggtOutput:
        """Everything before conversion; `heads` is any of "depth", "points"."""
        check_images(images, self.patch_size)
        return self._run(images, heads, head_chunk)

    def _run(self, images: Tensor, heads: Sequence[str], head_chunk: int) -> VggtOutput:
        """`internals` of images that were checked: a GPU waits for each reading."""
        check_heads(heads, ("depth", "points"), head_chunk)
        return self.read(self.trunk(images), images, heads, head_chunk)

    def track(
        self,
        images: Float[Tensor, "b v 3 y x"],
        queries: Float[Tensor, "b p 2"],
        *,
        head_chunk: int = 8,
    ) -> Tracks:
        """Follow pixels (x, y) of the first view through all views.

        Raises ValueError for images or queries that break the rules.
        """
        check_heads((), (), head_chunk)
        check_images(images, self.patch_size)
        least = 2**self.config.track.levels  # half the images, and half of that at each level
        if min(images.shape[-2:]) < least:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; {self.name} tracks in sides of at least "
                f"{least} pixels: give larger images"
            )
        shape = tuple(queries.shape)
        fits = len(shape) == 3 and shape[0] == len(images) and shape[1] > 0 and shape[2] == 2
        if not (fits and queries.isfinite().all()):
            raise ValueError(
                f"queries={shape}; they must be finite pixels (x, y), at least 1, of "
                f"each of the {len(images)} scenes: pass b p 2"
            )
        return self.follow(self.trunk(images), images, queries, head_chunk)

    def trunk(self, images: Float[Tensor, "b v 3 y x"]) -> Tokens:
        """What the heads read, of images in [0, 1] that were checked."""
        dtype = self.aggregator.camera_token.dtype
        return self.aggregator(imagenet_normalize(images).to(dtype))

    def read(
        self, tokens: Tokens, images: Tensor, heads: Sequence[str], head_chunk: int
    ) -> VggtOutput:
        """What the camera head and these dense heads make of the tokens of such images."""
        with without_autocast(images):
            encodings = self.camera_head(tokens.camera)
            return self._dense(tokens, images, encodings, heads, head_chunk)

    def follow(self, tokens: Tokens, images: Tensor, queries: Tensor, head_chunk: int) -> Tracks:
        """Where the tracker finds pixels of the first of such images, by its tokens."""
        head, size = self.track_head, (images.shape[-2], images.shape[-1])
        with without_autocast(images):
            maps = [
                head.feature_extractor.feature_map(levels, tokens.grid, size)
                for levels in self._chunks(tokens, images, head_chunk)
            ]
            features = _joined(maps, images).to(head.tracker.fmap_norm.weight.dtype)
            tracks: Tracks = head.tracker(features, queries)
        return tracks

    def _dense(
        self,
        tokens: Tokens,
        images: Tensor,
        encodings: list[Tensor],
        heads: Sequence[str],
        chunk: int,
    ) -> VggtOutput:
        size = (images.shape[-2], images.shape[-1])
        depth: list[Dense] = []
        points: list[Dense] = []
        for levels in self._chunks(tokens, images, chunk):
            depth.append(depth_of(self.depth_head.raw(levels, tokens.grid, size)))
            if "points" in heads:
                points.append(points_of(self.point_head.raw(levels, tokens.grid, size)))
        return VggtOutput(
            pose_encodings=encodings,
            depth=_joined([d.values[..., 0] for d in depth], images),
            depth_conf=_joined([d.confidence for d in depth], images),
            points=_joined([p.values for p in points], images) if points else None,
            points_conf=_joined([p.confidence for p in points], images) if points else None,
        )

    def _chunks(self, tokens: Tokens, images: Tensor, chunk: int) -> Iterator[list[Tensor]]:
        """The four levels of `chunk` views at a time, one chunk alive."""
        for start in range(0, images.shape[0] * images.shape[1], chunk):
            yield [self._level(tokens, i, slice(start, start + chunk)) for i in range(4)]

    def _level(self, tokens: Tokens, index: int, rows: slice) -> Float[Tensor, "r n d"]:
        """Patch tokens of some views, both halves raw."""
        pair, special = tokens.pairs[index], self.config.special_tokens
        halves = [
            rearrange(half, "b v n c -> (b v) n c")[rows, special:].to(tokens.camera.device)
            for half in (pair.frame, pair.spread)
        ]
        joined = torch.cat(halves, dim=-1).to(self.depth_head.norm.get_parameter("weight").dtype)
        return joined if tokens.raster is None else joined[:, tokens.raster]

    def attention_sites(self) -> list[AttentionSite]:
        """List the attentions of encoder, frame blocks, global blocks and camera head."""
        config = self.config
        patches, special = config.pos_grid**2, config.special_tokens
        kinds = (
            ("aggregator.patch_embed.blocks", config.dino_depth, "dino"),
            ("aggregator.frame_blocks", config.depth, "frame"),
            ("aggregator.global_blocks", config.depth, "global"),
            ("camera_head.trunk", config.camera_depth, "camera"),
        )
        shape = {
            "dino": ("frame", config.dino_heads, config.embed_dim, 1 + config.dino_registers),
            "frame": ("frame", config.num_heads, config.embed_dim, special),
            "global": ("global", config.num_heads, config.embed_dim, special),
            "camera": ("camera", config.camera_heads, 2 * config.embed_dim, 0),
        }
        sites = []
        for prefix, count, kind in kinds:
            scope, heads, width, pinned = shape[kind]
            sites += [
                AttentionSite(
                    name=f"{prefix}.{i}.attn",
                    scope=scope,  # type: ignore[arg-type]
                    num_heads=heads,
                    head_dim=width // heads,
                    special_tokens=pinned,
                    tokens_per_view=1 if kind == "camera" else pinned + patches,
                )
                for i in range(count)
            ]
        return sites

    def init_weights(self) -> None:
        """Draw weights for training from scratch: ViT defaults, cameras from identity."""
        init_transformer(self)
        dino, trunk, tracker = self.aggregator.patch_embed, self.aggregator, self.track_head.tracker
        for token in (
            dino.cls_token,
            dino.pos_embed,
            dino.register_tokens,
            trunk.camera_token,
            trunk.register_token,
            tracker.query_ref_token,
            tracker.updateformer.virual_tracks,
        ):
            nn.init.trunc_normal_(token, std=0.02)
        nn.init.zeros_(dino.mask_token)
        nn.init.zeros_(self.camera_head.empty_pose_tokens)
        with torch.no_grad():
            bias = self.camera_head.pose_branch.fc2.bias
            start = bias.new_tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1])
            bias.copy_(start / self.config.camera_iterations)

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """Photos as the family reads them; `size` is the side in pixels."""
        return VggtPreprocess(
            patch_size=self.patch_size, size=self.photo_size if size is None else size
        )

    def set_token_order(self, order: TokenOrder) -> None:
        """Choose "raster" or "tile8" order of patch tokens inside the trunk."""
        check_order(order)
        self.aggregator.token_order = order


def _joined(parts: list[Tensor], images: Tensor) -> Tensor:
    """Chunks of views back to `b v ...`."""
    return rearrange(torch.cat(parts), "(b v) ... -> b v ...", b=images.shape[0])
