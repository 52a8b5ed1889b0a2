"""A third backbone of another kind, in one file: convolutions and one attention over all views."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones import (
    Attention,
    AttentionSite,
    Backbone,
    BackboneEntry,
    Prediction,
    Reference,
    register_backbone,
)
from recon_backbones.blocks.token_order import TokenOrder, order_index
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.geometry.cameras import decode_pose
from recon_backbones.geometry.pixels import Preprocess


class ConvBackbone(Backbone):
    """A stem of stride 8, attention over the cells of all views, and a shallow decoder."""

    family: ClassVar[str] = "conv"

    def __init__(self) -> None:
        super().__init__()
        self.name = "conv-tiny"
        self.patch_size = 8
        self.token_order: TokenOrder = "raster"
        self.stem = nn.Conv2d(3, 32, 8, stride=8)
        self.norm = nn.LayerNorm(32)
        self.mix = Attention(32, 2)
        self.dense = nn.Conv2d(32, 2, 3, padding=1)
        self.pose = nn.Linear(32, 9)

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        head_chunk: int = 8,
    ) -> Prediction:
        """Predict depth from cells and a camera from their mean."""
        if world_to_camera is not None or intrinsics is not None:
            raise ValueError(f"{self.name} takes no cameras; it finds them itself: leave them out")
        b, v = images.shape[:2]
        size = (images.shape[-2], images.shape[-1])
        cells = self.stem(images.flatten(0, 1).to(self.stem.weight.dtype))
        grid = (cells.shape[-2], cells.shape[-1])
        order, raster = order_index(self.token_order, grid, images.device)
        tokens = cells.flatten(2).transpose(1, 2)
        tokens = tokens if order is None else tokens[:, order]
        joined = tokens.reshape(b, -1, tokens.shape[-1])
        pinned = torch.empty(0, dtype=torch.int64, device=images.device)
        tokens = (joined + self.mix(self.norm(joined), pinned=pinned)).reshape(tokens.shape)
        tokens = tokens if raster is None else tokens[:, raster]
        maps = tokens.transpose(1, 2).reshape(cells.shape)
        dense = F.interpolate(self.dense(maps).float(), size=size, mode="bilinear")
        depth, confidence = dense.exp().reshape(b, v, 2, *size).unbind(2)
        encoding = self.pose(tokens.mean(1)).float().reshape(b, v, 9)
        found, k = decode_pose(encoding, size, tan_floor=1e-6)
        return Prediction(
            depth=depth, depth_conf=1 + confidence, world_to_camera=found, intrinsics=k
        )

    def attention_sites(self) -> list[AttentionSite]:
        """The one attention; images of 224 pixels give 784 cells."""
        return [
            AttentionSite(
                name="mix",
                scope="global",
                num_heads=2,
                head_dim=16,
                special_tokens=0,
                tokens_per_view=784,
            )
        ]

    def init_weights(self) -> None:
        """PyTorch's own start."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm)):
                module.reset_parameters()

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """Photos as Depth Anything 3 reads them."""
        return DA3Preprocess(patch_size=self.patch_size, size=size or self.photo_size)

    def set_token_order(self, order: TokenOrder) -> None:
        """Choose the order of cells inside the attention."""
        self.token_order = order


def register() -> None:
    """Make the backbone known under "conv-tiny"."""
    register_backbone(BackboneEntry(name="conv-tiny", build=ConvBackbone, license="Apache-2.0"))
