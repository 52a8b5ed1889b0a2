"""Depth Anything 3 as a backbone: images in [0, 1] to depth and world-to-camera poses."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

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
from recon_backbones.da3.config import DA3Config
from recon_backbones.da3.model import DA3Net, DA3Output
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.da3.ray_pose import cameras_from_rays
from recon_backbones.geometry.alignment import robust_umeyama, umeyama
from recon_backbones.geometry.cameras import (
    check_cameras,
    decode_pose,
    invert_rigid,
    normalize_scene,
)
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.geometry.splats import Splats, world_splats
from recon_backbones.prediction import Prediction

_ROBUST_FROM = 10  # views from which outlying cameras are voted out
_SHARED_NORM = re.compile(r"(.*output_conv2_aux\.)[123](\.2\.(?:weight|bias))")


class AnyView(Backbone):
    """What every backbone round an any-view network shares; `network` is that network."""

    family: ClassVar[str] = "da3"
    config: DA3Config

    @property
    @abstractmethod
    def network(self) -> DA3Net:
        """The network of any number of views."""

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        with_rays: bool = False,
        with_splats: bool = False,
        cameras: Literal["decoder", "rays"] = "decoder",
        head_chunk: int = 8,
    ) -> Prediction:
        """Reconstruct scenes; the world is near the frame of the reference view.

        Given cameras are encoded into the network and returned as they are, with the depth brought
        to their unit by aligning camera centers; rays stay in the network's frame. `with_rays`
        also runs the ray head, `with_splats` the Gaussian head of the giant models; `cameras` says
        whether poses and intrinsics come from the camera decoder or are fitted to the rays.

        Raises ValueError for images or cameras that break the rules, before any heavy work.
        """
        check_choice("cameras", cameras, ("decoder", "rays"))
        wanted = {"rays": with_rays or cameras == "rays", "gaussians": with_splats}
        output = self._run(
            images,
            world_to_camera=world_to_camera,
            intrinsics=intrinsics,
            reference=reference or "saddle_balanced",
            heads=("depth", *(head for head, asked in wanted.items() if asked)),
            head_chunk=head_chunk,
        )
        with without_autocast(images):  # it would round cameras to 16 bits
            found = _found_cameras(output, cameras, (images.shape[-2], images.shape[-1]))
            unit = torch.ones(len(images), dtype=output.depth.dtype, device=images.device)
            if world_to_camera is not None and intrinsics is not None:
                unit = _unit(world_to_camera, found[0]).to(unit.dtype)
                found = (world_to_camera, intrinsics)
            prediction = Prediction(
                depth=output.depth / unit[:, None, None, None],
                depth_conf=output.depth_conf,
                world_to_camera=found[0],
                intrinsics=found[1],
                rays=output.rays,
                rays_conf=output.rays_conf,
                splats=_splats(output, found, unit),
            )
        return self.finished(prediction, images, given=world_to_camera, head_chunk=head_chunk)

    def finished(
        self,
        found: Prediction,
        images: Float[Tensor, "b v 3 y x"],
        *,
        given: Float[Tensor, "b v 3 4"] | None,
        head_chunk: int,
    ) -> Prediction:
        """What a backbone still does to the prediction; `given` are given poses."""
        return found

    def internals(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference = "saddle_balanced",
        heads: Sequence[str] = ("depth",),
        features: Sequence[int] = (),
        head_chunk: int = 8,
    ) -> DA3Output:
        """Everything a trainer needs: the raw pose encoding, depth, rays, and block features.

        `heads` is any of "depth", "rays", "gaussians"; `features` are block numbers. Given cameras
        are first expressed in the first camera's frame, `normalize_scene` says in which unit.
        """
        check_images(images, self.patch_size)
        check_cameras(images, world_to_camera, intrinsics)
        return self._run(
            images,
            world_to_camera=world_to_camera,
            intrinsics=intrinsics,
            reference=reference,
            heads=heads,
            features=features,
            head_chunk=head_chunk,
        )

    def _run(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None,
        intrinsics: Float[Tensor, "b v 3 3"] | None,
        reference: Reference,
        heads: Sequence[str],
        head_chunk: int,
        features: Sequence[int] = (),
    ) -> DA3Output:
        """`internals` of images and cameras that were checked: a GPU waits for each reading."""
        check_heads(heads, self._known_heads(), head_chunk)
        check_choice("reference", reference, get_args(Reference))
        for block in features:
            check_choice("feature block", block, range(self.config.depth))
        if world_to_camera is not None:
            with without_autocast(images):
                world_to_camera = normalize_scene(world_to_camera)
        dtype = self.network.backbone.pretrained.cls_token.dtype
        return self.network(
            imagenet_normalize(images).to(dtype),
            world_to_camera=world_to_camera,
            intrinsics=intrinsics,
            reference=reference,
            heads=heads,
            features=features,
            head_chunk=head_chunk,
        )

    def _known_heads(self) -> tuple[str, ...]:
        return ("depth", "rays", *(("gaussians",) if self.config.gaussian_head else ()))

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """Photos as the family reads them; `size` is the side in pixels."""
        return DA3Preprocess(
            patch_size=self.patch_size, size=self.photo_size if size is None else size
        )

    def set_token_order(self, order: TokenOrder) -> None:
        """Choose "raster" or "tile8" order of patch tokens inside the transformer."""
        check_order(order)
        self.network.backbone.pretrained.token_order = order

    @classmethod
    def convert_names(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Accept names with and without `model.`, and copies of the shared ray norm.

        Raises ValueError if a copy differs from the norm it copies.
        """
        bare = not any(name.startswith("model.") for name in state)
        named = {f"model.{name}" if bare else name: tensor for name, tensor in state.items()}
        for name in list(named):
            alias = _SHARED_NORM.fullmatch(name)
            if alias is None:
                continue
            stored = alias[1] + "0" + alias[2]
            if stored in named and not torch.equal(named[name], named[stored]):
                raise ValueError(
                    f"{name} differs from {stored}; the two are one tensor in this network: "
                    "give weights that agree"
                )
            named.setdefault(stored, named[name])
            del named[name]
        return named


class DepthAnything3(AnyView):
    """Any-view Depth Anything 3 (arXiv 2511.10647); state-dict names are the public ones."""

    def __init__(self, name: str, config: DA3Config) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.patch_size = config.patch_size
        self.model = DA3Net(config)

    @property
    def network(self) -> DA3Net:
        """The whole model."""
        return self.model

    def attention_sites(self) -> list[AttentionSite]:
        """List the transformer's attentions, then those of the camera encoder."""
        return any_view_sites(self.config, "model")

    def init_weights(self) -> None:
        """Draw weights for training from scratch: ViT defaults, cameras from identity."""
        self.model.init_weights()


def any_view_sites(config: DA3Config, prefix: str) -> list[AttentionSite]:
    """Attention sites of an any-view network that lies at `prefix` in its backbone."""
    blocks = [
        AttentionSite(
            name=f"{prefix}.backbone.pretrained.blocks.{i}.attn",
            scope="global" if config.is_global(i) else "frame",
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            special_tokens=1,
            tokens_per_view=1 + config.pos_grid**2,
        )
        for i in range(config.depth)
    ]
    cameras = [
        AttentionSite(
            name=f"{prefix}.cam_enc.trunk.{i}.attn",
            scope="camera",
            num_heads=config.cam_enc_heads,
            head_dim=config.embed_dim // config.cam_enc_heads,
            special_tokens=0,
            tokens_per_view=1,
        )
        for i in range(config.cam_enc_depth)
    ]
    return blocks + cameras


def _found_cameras(
    output: DA3Output, how: Literal["decoder", "rays"], size: tuple[int, int]
) -> tuple[Float[Tensor, "b v 3 4"], Float[Tensor, "b v 3 3"]]:
    """World-to-camera poses and intrinsics that the network itself found."""
    if how == "rays" and output.rays is not None and output.rays_conf is not None:
        return cameras_from_rays(output.rays, output.rays_conf, size)
    camera_to_world, intrinsics = decode_pose(output.pose_encoding, size, tan_floor=1e-6)
    return invert_rigid(camera_to_world), intrinsics


def _splats(
    output: DA3Output, cameras: tuple[Tensor, Tensor], unit: Float[Tensor, " b"]
) -> Splats | None:
    """Splats in the frame and unit of the cameras, placed with them in the network's unit."""
    if output.gaussians is None:
        return None
    world_to_camera, intrinsics = (t.to(output.depth.dtype) for t in cameras)
    shift = world_to_camera[..., 3:] * unit[:, None, None, None]
    placed = torch.cat((world_to_camera[..., :3], shift), dim=-1)
    raw, opacity = output.gaussians
    return world_splats(raw, opacity, output.depth, placed, intrinsics).scaled(1 / unit)


def _unit(
    given: Float[Tensor, "b v 3 4"], predicted: Float[Tensor, "b v 3 4"]
) -> Float[Tensor, " b"]:
    """Scale that takes the given cameras' centers to the predicted ones, per scene."""
    centers = (invert_rigid(w2c.detach())[..., 3] for w2c in (given, predicted))
    pairs = zip(*centers, strict=True)
    fit = robust_umeyama if given.shape[1] >= _ROBUST_FROM else umeyama
    return torch.stack([fit(a, b).scale for a, b in pairs]).to(predicted)
