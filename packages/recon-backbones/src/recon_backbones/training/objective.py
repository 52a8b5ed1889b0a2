"""One batch through the network, to a loss and its parts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.attention import MatmulAttention
from recon_backbones.training.losses import WEIGHTS, match_term
from recon_backbones.training.pupils.pupil import Pupil, Way
from recon_backbones.training.targets import PATCH, make_targets

ROWS = 2
"""Every second patch is asked for its correspondences; the logits of all cost a tenth of a step."""


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
    images = batch["images"].float() / 255
    with _watch(watched_cores(pupil)) as watched:
        terms = pupil.terms(images, targets, way)
    logits = [_patch_logits(q, k, images.shape[1], pupil.special) for q, k in watched]
    terms["match"], agree = match_term(logits, targets.matches[:, :, ::ROWS])
    total = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    parts = {name: term.detach() for name, term in terms.items()}
    return total, parts | {"matched": agree, "total": total.detach()}


def watched_cores(pupil: Pupil) -> list[nn.Module]:
    """The global attentions, but for the first, whose first head learns correspondences."""
    return [block.get_submodule("attn.core") for block in pupil.spread()[1:]]


@contextmanager
def _watch(cores: list[nn.Module]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect q and k of the first head of attentions while the network runs."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        seen.append((inputs[0][:, 0], inputs[1][:, 0]))

    handles = [core.register_forward_pre_hook(keep) for core in cores]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _patch_logits(q: Tensor, k: Tensor, views: int, special: int) -> Float[Tensor, "b v r v p"]:
    """Scaled logits of every second patch of a view and all patches of all views."""
    q, k = (rearrange(t, "b (v n) d -> b v n d", v=views)[:, :, special:] for t in (q, k))
    scale = q.shape[-1] ** -0.5
    return einsum(q[:, :, ::ROWS].float() * scale, k.float(), "b i r d, b j p d -> b i r j p")


def use_fast_training(pupil: Pupil, device: torch.device) -> None:
    """Choose the attention that trains fastest; on a GPU compile the blocks nobody watches."""
    watched = {id(core) for core in watched_cores(pupil)}
    for block in pupil.blocks().values():
        if device.type == "cpu":
            block.attn.core = MatmulAttention()
        elif id(block.attn.core) not in watched:
            block.compile(dynamic=True)  # batches come in many shapes
