"""One batch through the network, to a loss and its parts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.da3.model import DA3Net

from .losses import WEIGHTS, depth_terms, direction_term, match_term, pose_term, ray_term
from .probe import Pupil, probe_terms
from .targets import Targets, make_targets

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def pretraining_loss(
    pupil: Pupil, batch: dict[str, Tensor], *, posed: bool, dense: bool
) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted loss of a batch and the value of every part.

    `batch` holds images `b v 3 y x` (uint8), depth, world_to_camera, intrinsics. With `posed` the
    network is given the true cameras, so that its camera encoder learns too. With `dense` its
    depth and ray heads run; without, the probe stands in for them.
    """
    targets = make_targets(batch["depth"].float(), batch["world_to_camera"], batch["intrinsics"])
    images = normalise(batch["images"].float() / 255).to(pupil.probe.weight.dtype)
    answer = _dense_terms if dense else _trunk_terms
    with _record_global_attention(pupil.network) as recorded:
        terms = answer(pupil, images, targets, posed)
    logits = [_patch_logits(q, k, images.shape[1]) for q, k in recorded[1:]]
    terms["match"], agree = match_term(logits, targets)
    total = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    parts = {name: float(term.detach()) for name, term in terms.items()}
    return total, parts | {"matched": float(agree), "total": float(total.detach())}


def _dense_terms(pupil: Pupil, images: Tensor, targets: Targets, posed: bool) -> dict[str, Tensor]:
    cameras = (_invert(targets.camera_to_world), targets.intrinsics) if posed else (None, None)
    output = pupil.network(
        images,
        world_to_camera=cameras[0],
        intrinsics=cameras[1],
        reference="first",
        heads=("depth", "rays"),
        head_chunk=64,
    )
    assert output.rays is not None
    terms = depth_terms(output.depth.log(), output.depth_conf, targets.depth)
    terms |= _camera_terms(output.pose_encoding, targets)
    terms["rays"] = ray_term(output.rays, targets)
    return terms


def _trunk_terms(pupil: Pupil, images: Tensor, targets: Targets, posed: bool) -> dict[str, Tensor]:
    tokens = pupil.network.cam_enc(targets.pose) if posed else None
    pose, answer = pupil.trunk(images, tokens)
    return probe_terms(answer, targets) | _camera_terms(pose, targets)


def _camera_terms(pose: Tensor, targets: Targets) -> dict[str, Tensor]:
    return {
        "pose": pose_term(pose, targets.pose),
        "direction": direction_term(pose, targets.pose),
    }


def normalise(images: Float[Tensor, "b v 3 y x"]) -> Float[Tensor, "b v 3 y x"]:
    """Bring images in [0, 1] to the statistics that the network expects (ImageNet's)."""
    return (images - MEAN[:, None, None]) / STD[:, None, None]


@contextmanager
def _record_global_attention(network: DA3Net) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect q and k of the first head of every global block while the network runs."""
    recorded: list[tuple[Tensor, Tensor]] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        recorded.append((inputs[0][:, 0], inputs[1][:, 0]))

    vit = network.backbone.pretrained
    blocks = [b for i, b in enumerate(vit.blocks) if network.config.is_global(i)]
    cores = [block.get_submodule("attn.core") for block in blocks]
    handles = [core.register_forward_pre_hook(keep) for core in cores]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _patch_logits(q: Tensor, k: Tensor, views: int) -> Float[Tensor, "b v p v p"]:
    """Scaled logits between the patches of all views, special tokens left out."""
    q, k = (t.unflatten(1, (views, -1))[:, :, 1:] for t in (q, k))
    scale = q.shape[-1] ** -0.5
    return torch.einsum("bipd,bjqd->bipjq", q.float() * scale, k.float())


def _invert(camera_to_world: Float[Tensor, "b v 3 4"]) -> Float[Tensor, "b v 3 4"]:
    rotation = camera_to_world[..., :3].mT
    return torch.cat([rotation, -rotation @ camera_to_world[..., 3:]], dim=-1)
