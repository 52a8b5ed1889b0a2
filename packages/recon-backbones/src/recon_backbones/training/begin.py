"""What a training begins with; a VGGT can begin with what a Depth Anything 3 of its widths learned.

Both are the same image transformer with attention within views and over all views in turn: the
blocks of the one before `alt_start` are the image encoder of the other, and the pairs behind it
are its pairs. Registers, the encoder's last norm, and the camera head have no counterpart.
"""

from collections.abc import Iterator

import torch
from torch import nn

from recon_backbones.backbone import Backbone
from recon_backbones.da3.backbone import DepthAnything3
from recon_backbones.da3.vit import VisionTransformer
from recon_backbones.registry import list_backbones, load_backbone
from recon_backbones.vggt.backbone import Vggt


def begin(name: str, start: str, *, seed: int) -> Backbone:
    """Load a backbone with the weights that it begins with.

    - `start`: what `load_backbone` takes as weights, or the name of a backbone with bundled ones,
      whose transformer and depth head are taken over; the rest is drawn from `seed`.

    Raises ValueError where weights are not at hand or do not fit.
    """
    if start not in list_backbones():
        return load_backbone(name, weights=start, seed=seed)
    made, other = (
        load_backbone(name, weights="random", seed=seed),
        load_backbone(start, weights="bundled"),
    )
    if not (isinstance(made, Vggt) and isinstance(other, DepthAnything3)):
        raise ValueError(
            f"start={start!r}; a VGGT begins with a Depth Anything 3, and {name!r} with {start!r} "
            "does not: give bundled, random or a file"
        )
    _take_over(made, other)
    return made


@torch.no_grad()
def _take_over(made: Vggt, other: DepthAnything3) -> None:
    """Copy what has a counterpart. Raises ValueError, before anything changes, for other shapes."""
    parts = list(_counterparts(made, other))
    pairs = [
        (f"{place}.{n}", p, source.get_parameter(n))
        for place, part, source in parts
        for n, p in part.named_parameters()
    ]
    for name, here, there in pairs:
        if here.shape != there.shape:
            raise ValueError(
                f"{name}={tuple(here.shape)}; {other.name} has {tuple(there.shape)} there: begin "
                "with a backbone of the same widths"
            )
    vit, trunk = other.model.backbone.pretrained, made.aggregator
    for _, here, there in pairs:
        here.copy_(there)
    trunk.patch_embed.norm.weight.fill_(_size(vit, start=other.config.alt_start))
    trunk.patch_embed.pos_embed.copy_(vit.pos_embed)
    trunk.patch_embed.cls_token.copy_(vit.cls_token)
    trunk.camera_token.copy_(vit.camera_token[:, :, None])


def _size(vit: VisionTransformer, *, start: int) -> float:
    """How large tokens are ahead of a block, as the image encoder's last norm leaves them."""
    width, patch = vit.config.embed_dim, vit.config.patch_size
    draw, size = torch.Generator().manual_seed(0), (1, 3, 8 * patch, 8 * patch)
    noise = torch.randn(size, generator=draw, dtype=torch.float32, device="cpu")
    tokens = vit.patch_embed(noise)
    for block in vit.blocks[:start]:
        tokens = block(tokens)
    return float(tokens.reshape(-1, width).std(-1).mean())


def _counterparts(made: Vggt, other: DepthAnything3) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Parts of both that do the same, with the place in the first."""
    vit, trunk = other.model.backbone.pretrained, made.aggregator
    start = other.config.alt_start
    yield "patch_embed.patch_embed", trunk.patch_embed.patch_embed, vit.patch_embed
    for at, blocks, source in (
        ("patch_embed.blocks", trunk.patch_embed.blocks, vit.blocks[:start]),
        ("frame_blocks", trunk.frame_blocks, vit.blocks[start::2]),
        ("global_blocks", trunk.global_blocks, vit.blocks[start + 1 :: 2]),
    ):
        if len(blocks) != len(source):
            raise ValueError(
                f"{at}={len(blocks)} blocks; {other.name} has {len(source)} there: begin with a "
                "backbone of as many"
            )
        for i, (here, there) in enumerate(zip(blocks, source, strict=True)):
            yield f"{at}.{i}", here, there
    head, dual = made.depth_head, other.model.head
    for at in ("norm", "projects", "resize_layers", *(f"scratch.{n}" for n in head.scratch)):
        yield f"depth_head.{at}", head.get_submodule(at), dual.get_submodule(at)
