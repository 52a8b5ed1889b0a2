"""Nothing is computed or kept that was not asked for."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recon_backbones import Backbone, build_on_meta, load_backbone, slice_blocks
from recon_backbones.blocks.transformer import Block, Mlp
from recon_backbones.da3 import DepthAnything3
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos.prepare import Prepared
from recon_backbones.reconstruct import _pictures
from recon_backbones.vggt import Vggt, vggt_1b

from .allocations import peak_allocated
from .short import short


@pytest.fixture(params=["da3-tiny", "vggt-tiny"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(request.param, weights="random", seed=5)


def calls(module: nn.Module, run: Any) -> set[str]:
    """Names of the modules that a run goes through."""
    seen: set[str] = set()
    hooks = [
        part.register_forward_hook(lambda *_, name=name: seen.add(name))
        for name, part in module.named_modules()
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def test_unasked_heads_do_not_run() -> None:
    da3 = load_backbone("da3-tiny", weights="random")
    images = torch.rand(1, 2, 3, 56, 56)
    quiet = calls(da3, lambda: da3(images))
    assert not any("aux" in name or "cam_enc" in name for name in quiet)
    loud = calls(da3, lambda: da3(images, with_rays=True))
    assert any("refinenet1_aux" in name for name in loud)
    assert not any("output_conv1_aux.0" in name for name in loud)
    vggt = load_backbone("vggt-tiny", weights="random")
    assert not any(n.startswith(("point", "track")) for n in calls(vggt, lambda: vggt(images)))
    assert any(n.startswith("point") for n in calls(vggt, lambda: vggt(images, with_points=True)))


@torch.no_grad()
@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
@pytest.mark.parametrize("tokens", [1, 7, 40, 10**6])
def test_slices_change_nothing_and_bound_the_feed_forward(
    name: str, tokens: int, poisoned_empty: None
) -> None:
    backbone = short(name)
    images = torch.rand(2, 2, 3, 28, 42)
    whole = backbone(images)
    slice_blocks(backbone, tokens)
    largest: list[int] = []
    for module in backbone.modules():
        if isinstance(module, Block) and isinstance(module.mlp, Mlp):
            module.mlp.fc1.register_forward_hook(
                lambda _m, _i, out: largest.append(out.numel() // out.shape[-1])
            )
    sliced = backbone(images)
    assert max(largest) <= tokens
    for name in ("depth", "depth_conf", "world_to_camera"):
        a, b = getattr(sliced, name), getattr(whole, name)
        assert (a - b).abs().max() <= 1e-5 * b.abs().max(), name


def test_slices_leave_gradients_alone() -> None:
    images = torch.rand(1, 3, 3, 56, 70)
    gradients: list[Tensor] = []
    for tokens in (None, 16):
        backbone = load_backbone("da3-tiny", weights="random")
        slice_blocks(backbone, tokens)
        backbone(images).depth.log().mean().backward()
        gradient = backbone.get_parameter("model.backbone.pretrained.blocks.1.mlp.fc1.weight").grad
        assert gradient is not None
        gradients.append(gradient)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-8)


def test_a_bound_of_nothing_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        slice_blocks(backbone, 0)
    with pytest.raises(ValueError, match="no transformer block"):
        slice_blocks(nn.Linear(2, 2), 8)


def storage(tensors: list[Tensor]) -> int:
    unique = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(unique.values())


@torch.no_grad()
def test_vggt_keeps_at_most_50_mb_a_view_between_trunk_and_heads() -> None:
    """Counted at full width and 8 views of 518 pixels, float32, without computing."""
    config = replace(vggt_1b(), depth=6, out_layers=(0, 2, 4, 5), dino_depth=1, camera_depth=1)
    with torch.device("meta"):
        vggt = Vggt("vggt-short", config)
    tokens = vggt.aggregator(torch.empty(1, 8, 3, 518, 518, device="meta"))
    kept = storage([half for pair in tokens.pairs for half in (pair.frame, pair.spread)])
    assert kept / 8 <= 50e6


@torch.no_grad()
def test_da3_keeps_no_layer_twice() -> None:
    da3 = build_on_meta("da3-large")
    assert isinstance(da3, DepthAnything3)
    tokens = da3.model.backbone.pretrained(torch.empty(1, 2, 3, 252, 252, device="meta"))
    one = 2 * 325 * 1024 * 4
    kept = storage([half for level in tokens.levels for half in (level.local, level.current)])
    assert kept <= 8 * one


COMPILED = """
import dataclasses
import sys
import torch
from recon_backbones.da3 import DepthAnything3, da3_tiny
from recon_backbones import compile_blocks
from recon_backbones.vggt import Vggt, vggt_tiny

KINDS = {"da3": 3, "vggt": 4}  # plain, within a view, over all views; VGGT's camera head
torch.set_num_threads(1)
torch.manual_seed(0)
short = dict(depth=4, out_layers=(0, 1, 2, 3))
if sys.argv[1] == "da3":
    backbone = DepthAnything3("da3", dataclasses.replace(da3_tiny(), **short))
else:
    shorter = dataclasses.replace(vggt_tiny(), **short, dino_depth=1, camera_depth=1)
    backbone = Vggt("vggt", shorter)
backbone.init_weights()
images = torch.rand(1, 3, 3, 56, 56)
with torch.no_grad():
    eager = backbone(images)
    compiled = torch.compile(backbone.forward, backend="eager", fullgraph=True)(images)
for field in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
    a, b = getattr(compiled, field), getattr(eager, field)
    assert (a - b).abs().max() <= 1e-5 * b.abs().max(), field

torch.compiler.reset()
graphs = []
def keep(graph, _):
    graphs.append(graph)
    return graph.forward
assert compile_blocks(backbone, backend=keep) > KINDS[sys.argv[1]]
with torch.inference_mode():
    found = backbone(images).depth
assert len(graphs) == KINDS[sys.argv[1]], len(graphs)
assert (found - eager.depth).abs().max() <= 1e-5 * eager.depth.abs().max()

torch.compiler.reset()
backbone.bfloat16()  # whose attention goes another way where nothing is compiled
with torch.inference_mode():
    found = backbone(images.bfloat16()).depth
assert (found - eager.depth).abs().max() <= 0.1 * eager.depth.abs().max()
"""


@pytest.mark.parametrize("family", ["da3", pytest.param("vggt", marks=pytest.mark.nightly)])
def test_a_whole_backbone_compiles_to_one_graph(family: str) -> None:
    """In a process of its own: the graph must not hold the checks of shapes that tests add.

    Block by block it takes a graph for each kind of block.
    """
    command = [sys.executable, "-c", COMPILED, family]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_photos_become_bytes_without_a_second_copy_in_float32() -> None:
    images = torch.rand(1, 12, 3, 56, 84)
    whole = PixelMap(photo=(56, 84), size=(56, 84))
    batch = Prepared(images=images, maps=(whole,) * 12)
    assert peak_allocated(lambda: _pictures(batch)) < images.nbytes / 4
    expected = (images[0] * 255).round().byte().permute(0, 2, 3, 1)
    assert torch.equal(torch.from_numpy(_pictures(batch)), expected)
