"""Nested Depth Anything 3: an any-view network and a metric one that gives it meters and sky."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.backbone import AttentionSite
from recon_backbones.blocks.patches import imagenet_normalize
from recon_backbones.blocks.token_order import TokenOrder
from recon_backbones.da3.backbone import AnyView, any_view_sites
from recon_backbones.da3.config import DA3Config, da3_tiny
from recon_backbones.da3.model import DA3Net
from recon_backbones.da3.single.backbone import single_view_sites
from recon_backbones.da3.single.config import MonoConfig
from recon_backbones.da3.single.net import MonoNet
from recon_backbones.metric import in_meters, metric_scale, to_metric
from recon_backbones.prediction import Prediction


class NestedNet(nn.Module):
    """Both networks under the names of the public checkpoints."""

    def __init__(self, anyview: DA3Config, metric: MonoConfig) -> None:
        super().__init__()
        self.da3 = DA3Net(anyview)
        self.da3_metric = MonoNet(metric)

    def init_weights(self) -> None:
        """Draw weights for training from scratch, from the global random state."""
        self.da3.init_weights()
        self.da3_metric.init_weights()


class NestedDepthAnything3(AnyView):
    """Depth Anything 3 Nested (arXiv 2511.10647): scenes in meters, with their sky."""

    def __init__(self, name: str, anyview: DA3Config, metric: MonoConfig) -> None:
        super().__init__()
        if metric.canonical_focal is None:
            raise ValueError(
                "canonical_focal of metric is None; the nested network needs meters: give "
                "the sizes of a metric network"
            )
        self.name = name
        self.config = anyview
        self.metric_config = metric
        self.canonical_focal = metric.canonical_focal
        self.patch_size = anyview.patch_size
        self.model = NestedNet(anyview, metric)

    @property
    def network(self) -> DA3Net:
        """The half that sees all views."""
        return self.model.da3

    def finished(
        self,
        found: Prediction,
        images: Float[Tensor, "b v 3 y x"],
        *,
        given: Float[Tensor, "b v 3 4"] | None,
        head_chunk: int,
    ) -> Prediction:
        """The scene in meters, or in the unit of given cameras; the sky lies far away.

        Raises ValueError if a scene shows too little but sky for its scale to be found.
        """
        dtype = self.model.da3_metric.backbone.pretrained.cls_token.dtype
        depth, sky = self.model.da3_metric(
            imagenet_normalize(images).to(dtype), head_chunk=head_chunk
        )
        metric = to_metric(found, depth, sky, canonical_focal=self.canonical_focal)
        if given is None:
            return metric
        meters = in_meters(depth, found.intrinsics, canonical_focal=self.canonical_focal)
        scale = metric_scale(found, meters, sky)
        return replace(metric.scaled(1 / scale), world_to_camera=given)

    def attention_sites(self) -> list[AttentionSite]:
        """List the attentions of the any-view network, then those of the metric one."""
        return [
            *any_view_sites(self.config, "model.da3"),
            *single_view_sites(self.metric_config, "model.da3_metric"),
        ]

    def init_weights(self) -> None:
        """Draw weights for training from scratch: ViT defaults, cameras from identity."""
        self.model.init_weights()

    def set_token_order(self, order: TokenOrder) -> None:
        """Choose "raster" or "tile8" order of patch tokens inside both transformers."""
        super().set_token_order(order)
        self.model.da3_metric.backbone.pretrained.token_order = order


def da3nested_tiny_views() -> DA3Config:
    """The any-view half of the tiny nested network, 1.7 million parameters."""
    return replace(da3_tiny(), embed_dim=96, depth=6, out_layers=(2, 3, 4, 5))
