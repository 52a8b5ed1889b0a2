"""One batch through the network, to a loss and its parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.attention import MatmulAttention
from recon_backbones.geometry.cameras import decode_pose, invert_rigid
from recon_backbones.training.losses import (
    WEIGHTS,
    aspect_term,
    depth_terms,
    direction_term,
    match_term,
    pose_term,
    ray_term,
    rotation_term,
)
from recon_backbones.training.probe import Pupil, probe_terms
from recon_backbones.training.targets import PATCH, Targets, make_targets

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
ROWS = 2
"""Every second patch is asked for its correspondences; the logits of all cost a tenth of a step."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step runs: with true cameras given, with the dense heads, with their rays.

    With `detach` the transformer does not follow the probe.
    """

    posed: bool = False
    dense: bool = True
    rays: bool = True
    detach: bool = False


def training_loss(
    pupil: Pupil, batch: dict[str, Tensor], way: Way
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted loss of a batch and the value of every part.

    `batch` holds images `b v 3 y x` (uint8), depth, valid, world_to_camera, intrinsics.
    Raises ValueError for images whose sides are no multiples of a patch.
    """
    height, width = batch["images"].shape[-2:]
    if height % PATCH or width % PATCH:
        raise ValueError(
            f"images={width} x {height}; sides must be multiples of {PATCH} pixels: round them"
        )
    targets = make_targets(
        batch["depth"].float(), batch["world_to_camera"], batch["intrinsics"], batch["valid"]
    )
    images = normalize(batch["images"].float() / 255).to(pupil.probe.weight.dtype)
    terms_of = _dense_terms if way.dense else _trunk_terms
    with _watch_global_attention(pupil.network) as watched:
        terms = terms_of(pupil, images, targets, way)
    logits = [_patch_logits(q, k, images.shape[1]) for q, k in watched]
    terms["match"], agree = match_term(logits, targets.matches[:, :, ::ROWS])
    total = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    parts = {name: term.detach() for name, term in terms.items()}
    return total, parts | {"matched": agree, "total": total.detach()}


def _dense_terms(pupil: Pupil, images: Tensor, targets: Targets, way: Way) -> dict[str, Tensor]:
    given = (invert_rigid(targets.camera_to_world), targets.intrinsics)
    cameras = given if way.posed else (None, None)
    output = pupil.network(
        images,
        world_to_camera=cameras[0],
        intrinsics=cameras[1],
        reference="first",
        heads=("depth", "rays") if way.rays else ("depth",),
        head_chunk=64,
    )
    depth, confidence = output.depth.float(), output.depth_conf.float()
    terms = depth_terms(depth.log(), confidence, targets.depth, targets.valid)
    terms |= _camera_terms(output.pose_encoding.float(), targets)
    if way.rays:
        terms["rays"] = ray_term(output.rays.float(), targets)
    return terms


def _trunk_terms(pupil: Pupil, images: Tensor, targets: Targets, way: Way) -> dict[str, Tensor]:
    dtype = images.dtype
    tokens = pupil.network.cam_enc(targets.pose.to(dtype)) if way.posed else None
    pose, guess = pupil.trunk(images, tokens, detach=way.detach)
    return probe_terms(guess, targets) | _camera_terms(pose, targets)


def _camera_terms(pose: Tensor, targets: Targets) -> dict[str, Tensor]:
    return {
        "pose": pose_term(pose, targets.pose),
        "aspect": aspect_term(pose, targets.pose),
        "direction": direction_term(pose, targets.pose),
        "rotation": rotation_term(pose, targets.pose),
    }


def normalize(images: Float[Tensor, "b v 3 y x"]) -> Float[Tensor, "b v 3 y x"]:
    """Bring images in [0, 1] to the statistics that the network expects (ImageNet's)."""
    mean, std = (t.to(images.device)[:, None, None] for t in (MEAN, STD))
    return (images - mean) / std


@torch.inference_mode()
def answer(
    network: Any, images: Float[Tensor, "v 3 y x"]
) -> tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"]]:
    """Depth and `world_to_camera` of one scene by a network in training, in float32 on the CPU."""
    like = next(network.parameters())
    seen = normalize(images[None]).to(device=like.device, dtype=like.dtype)
    output = network(seen, reference="first")
    encoded = output.pose_encoding[0].float().cpu()
    camera_to_world, _ = decode_pose(encoded, (images.shape[-2], images.shape[-1]))
    return output.depth[0].float().cpu(), invert_rigid(camera_to_world)


def watched_cores(network: Any) -> list[nn.Module]:
    """The global attentions, but for the first, whose first head learns correspondences."""
    vit = network.backbone.pretrained
    blocks = [b for i, b in enumerate(vit.blocks) if network.config.is_global(i)]
    return [block.get_submodule("attn.core") for block in blocks[1:]]


@contextmanager
def _watch_global_attention(network: Any) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect q and k of the first head of the watched attentions while the network runs."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        seen.append((inputs[0][:, 0], inputs[1][:, 0]))

    handles = [core.register_forward_pre_hook(keep) for core in watched_cores(network)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _patch_logits(q: Tensor, k: Tensor, views: int) -> Float[Tensor, "b v r v p"]:
    """Scaled logits of every second patch of a view and all patches of all views."""
    q, k = (rearrange(t, "b (v n) d -> b v n d", v=views)[:, :, 1:] for t in (q, k))
    scale = q.shape[-1] ** -0.5
    return einsum(q[:, :, ::ROWS].float() * scale, k.float(), "b i r d, b j p d -> b i r j p")


def use_fast_training(network: Any, device: torch.device) -> None:
    """Choose the attention that trains fastest; on a GPU compile the blocks nobody watches."""
    vit = network.backbone.pretrained
    watched = {id(core) for core in watched_cores(network)}
    for block in vit.blocks:
        if device.type == "cpu":
            block.attn.core = MatmulAttention()
        elif id(block.attn.core) not in watched:
            block.compile(dynamic=True)  # batches come in many shapes
