"""Single-view Depth Anything 3 as a backbone: each image to depth and sky."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from recon_backbones.backbone import AttentionSite, Backbone, Reference, check_heads, check_images
from recon_backbones.blocks.patches import imagenet_normalize
from recon_backbones.blocks.token_order import TokenOrder, check_order
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.da3.single.config import MonoConfig
from recon_backbones.da3.single.net import MonoDepth, MonoNet
from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.metric import fill_sky, in_meters
from recon_backbones.prediction import Prediction


class MonoDepthAnything3(Backbone):
    """Depth Anything 3 Mono or Metric (arXiv 2511.10647); state-dict names are the public ones.

    The network sees each view by itself and finds no cameras, so a `Prediction` needs given ones;
    `internals` gives depth and sky without. Depth of a metric network is in meters.
    """

    family: ClassVar[str] = "da3mono"
    needs_cameras: ClassVar[bool] = True

    def __init__(self, name: str, config: MonoConfig) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.patch_size = config.patch_size
        self.model = MonoNet(config)

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        head_chunk: int = 8,
    ) -> Prediction:
        """Depth of each view for given cameras, which come back as they are.

        A metric network's depth is in meters, so cameras should be too; otherwise each view's depth
        has a unit of its own. Confidence is 1 everywhere: the network tells none. The sky lies at
        the far depth of its scene. Views do not meet, so no `reference` leads them.

        Raises ValueError without cameras, and for images or cameras that break the rules.
        """
        if world_to_camera is None or intrinsics is None:
            raise InputError(
                f"{self.name} finds no cameras; a Prediction holds them: give cameras "
                "(world_to_camera and intrinsics), or call internals(images) for depth and "
                "sky alone"
            )
        depth, sky = self._run(images, head_chunk)
        focal = self.config.canonical_focal
        if focal is not None:
            depth = in_meters(depth, intrinsics.to(depth.dtype), canonical_focal=focal)
        return Prediction(
            depth=fill_sky(depth, sky),
            depth_conf=depth.new_ones(depth.shape),
            world_to_camera=world_to_camera,
            intrinsics=intrinsics,
            sky=sky,
            metric=focal is not None,
        )

    def internals(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        heads: Sequence[str] = ("depth", "sky"),
        head_chunk: int = 8,
    ) -> MonoDepth:
        """Depth as the network scales it, and sky; `heads` are always both."""
        check_images(images, self.patch_size)
        return self._run(images, head_chunk, heads)

    def _run(
        self, images: Tensor, head_chunk: int, heads: Sequence[str] = ("depth", "sky")
    ) -> MonoDepth:
        """`internals` of images that were checked: a GPU waits for each reading."""
        check_heads(heads, ("depth", "sky"), head_chunk)
        dtype = self.model.backbone.pretrained.cls_token.dtype
        return self.model(imagenet_normalize(images).to(dtype), head_chunk=head_chunk)

    def attention_sites(self) -> list[AttentionSite]:
        """List the attentions, every one of them inside a view."""
        return single_view_sites(self.config, "model")

    def init_weights(self) -> None:
        """Draw weights for training from scratch: ViT defaults."""
        self.model.init_weights()

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """Photos as the family reads them; `size` is the side in pixels."""
        return DA3Preprocess(
            patch_size=self.patch_size, size=self.photo_size if size is None else size
        )

    def set_token_order(self, order: TokenOrder) -> None:
        """Choose "raster" or "tile8" order of patch tokens inside the transformer."""
        check_order(order)
        self.model.backbone.pretrained.token_order = order


def single_view_sites(config: MonoConfig, prefix: str) -> list[AttentionSite]:
    """Attention sites of a single-view network that lies at `prefix` in its backbone."""
    return [
        AttentionSite(
            name=f"{prefix}.backbone.pretrained.blocks.{i}.attn",
            scope="frame",
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            special_tokens=1,
            tokens_per_view=1 + config.pos_grid**2,
        )
        for i in range(config.depth)
    ]
