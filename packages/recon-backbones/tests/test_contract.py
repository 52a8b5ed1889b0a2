"""What every backbone must hold, whoever wrote it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from recon_backbones import (
    Attention,
    AttentionSite,
    Backbone,
    DenseAttention,
    MatmulAttention,
    Prediction,
    build_on_meta,
    list_backbones,
    load_backbone,
    preprocess,
    replace_attention,
    unregister_backbone,
)

from . import conv_backbone

NAMES = ("da3-tiny", "vggt-tiny", "da3metric-tiny", "da3nested-tiny", "conv-tiny")


@pytest.fixture(scope="module", autouse=True)
def third_backbone() -> Iterator[None]:
    conv_backbone.register()
    yield
    unregister_backbone("conv-tiny")


@pytest.fixture(scope="module", params=NAMES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(request.param, weights="random", seed=3)


def images_for(backbone: Backbone, views: int = 3, cells: tuple[int, int] = (4, 5)) -> Tensor:
    sides = [side * backbone.patch_size for side in cells]
    return torch.rand(1, views, 3, *sides)


def run(backbone: Backbone, images: Tensor, **options: Any) -> Prediction:
    """Predict, with cameras where the backbone finds none by itself."""
    if not backbone.needs_cameras:
        return backbone(images, **options)
    b, v, _, height, width = images.shape
    k = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    return backbone(
        images,
        world_to_camera=torch.eye(3, 4).to(images).repeat(b, v, 1, 1),
        intrinsics=k.to(images).repeat(b, v, 1, 1),
        **options,
    )


def widest(backbone: Backbone) -> str:
    """The scope of the attentions that see most: over all views, where there are any."""
    scopes = {site.scope for site in backbone.attention_sites()}
    return "global" if "global" in scopes else "frame"


class Recorder(nn.Module):
    """Dense attention that remembers what it was given."""

    def __init__(self, site: AttentionSite) -> None:
        super().__init__()
        self.site = site
        self.seen: list[tuple[torch.Size, Tensor | None]] = []

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        assert q.shape == k.shape == v.shape and q.dtype == k.dtype == v.dtype
        self.seen.append((q.shape, pinned))
        return nn.functional.scaled_dot_product_attention(q, k, v)


@torch.no_grad()
@pytest.mark.parametrize("views", [1, 2, 5])
def test_shapes_and_ranges(backbone: Backbone, views: int) -> None:
    images = images_for(backbone, views)
    out = run(backbone, images)
    assert out.depth.shape == out.depth_conf.shape == (1, views, *images.shape[-2:])
    assert out.world_to_camera.shape == (1, views, 3, 4)
    assert out.intrinsics.shape == (1, views, 3, 3)
    assert (out.depth > 0).all() and (out.depth_conf >= 1).all()
    rotation = out.world_to_camera[..., :3].double()
    identity = torch.eye(3).double().expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()
    half = torch.tensor([images.shape[-1] / 2, images.shape[-2] / 2])
    torch.testing.assert_close(out.intrinsics[0, 0, :2, 2], half)
    assert out.unproject().shape == (*out.depth.shape, 3)


@torch.no_grad()
def test_scenes_of_a_batch_do_not_meet(backbone: Backbone) -> None:
    one, two = images_for(backbone), images_for(backbone)
    both = run(backbone, torch.cat((one, two)))
    torch.testing.assert_close(both.depth[:1], run(backbone, one).depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.depth[1:], run(backbone, two).depth, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_head_chunks_change_nothing(backbone: Backbone) -> None:
    images = images_for(backbone, 5)
    whole, parts = (run(backbone, images, head_chunk=chunk) for chunk in (8, 2))
    torch.testing.assert_close(whole.depth, parts.depth, rtol=1e-5, atol=1e-6)


def test_an_order_is_left_however_its_block_ends(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(backbone, "set_token_order", seen.append)
    with pytest.raises(KeyboardInterrupt), backbone.in_token_order("tile8"):
        raise KeyboardInterrupt
    assert seen == ["tile8", "raster"]


@torch.no_grad()
@pytest.mark.parametrize("cells", [(9, 17), (16, 8), (3, 11)])
def test_tile_order_changes_nothing(backbone: Backbone, cells: tuple[int, int]) -> None:
    images = images_for(backbone, 3, cells)
    raster = run(backbone, images)
    with backbone.in_token_order("tile8"):
        tiled = run(backbone, images)
    for name in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
        a, b = getattr(tiled, name), getattr(raster, name)
        assert (a - b).abs().max() <= 1e-5 * b.abs().max(), name


def test_sites_are_attentions_of_the_named_shape(backbone: Backbone) -> None:
    sites = backbone.attention_sites()
    assert len({site.name for site in sites}) == len(sites)
    for site in sites:
        module = backbone.get_submodule(site.name)
        assert isinstance(module, Attention)
        assert (module.num_heads, module.head_dim) == (site.num_heads, site.head_dim)
    attentions = {n for n, m in backbone.named_modules() if isinstance(m, Attention)}
    assert attentions == {site.name for site in sites}


@torch.no_grad()
@pytest.mark.parametrize("order", ["raster", "tile8"])
def test_cores_see_whole_sequences_with_their_special_tokens(
    backbone: Backbone, order: Any
) -> None:
    views, cells = 3, (9, 10)
    backbone.set_token_order(order)
    replaced = replace_attention(backbone, Recorder, where=lambda site: True)
    try:
        plain = run(backbone, images_for(backbone, views, cells))
    finally:
        backbone.set_token_order("raster")
    for site in backbone.attention_sites():
        core = backbone.get_submodule(site.name).core
        assert isinstance(core, Recorder)
        for shape, pinned in core.seen:
            per_view = site.special_tokens + cells[0] * cells[1]
            if site.scope == "camera":
                assert pinned is None and shape[2] == views
                continue
            count = views if site.scope == "global" else 1
            assert shape[1:] == (site.num_heads, count * per_view, site.head_dim)
            expected = [v * per_view + s for v in range(count) for s in range(site.special_tokens)]
            assert pinned is not None and pinned.tolist() == expected
    replaced.undo()
    assert plain.depth.isfinite().all()


@torch.no_grad()
def test_replacing_by_an_equal_core_then_undoing_is_the_identity(backbone: Backbone) -> None:
    images = images_for(backbone)
    before, names = run(backbone, images), list(backbone.state_dict())
    scope = widest(backbone)
    replaced = replace_attention(
        backbone, lambda site: MatmulAttention(), where=lambda site: site.scope == scope
    )
    assert {site.scope for site in replaced.sites} == {scope}
    during = run(backbone, images)
    assert list(backbone.state_dict()) == names
    replaced.undo()
    torch.testing.assert_close(during.depth, before.depth, rtol=1e-4, atol=1e-5)
    assert torch.equal(run(backbone, images).depth, before.depth)
    sites = [s.name for s in backbone.attention_sites()]
    assert all(isinstance(backbone.get_submodule(n).core, DenseAttention) for n in sites)


def test_a_core_with_weights_adds_names_under_core_only(backbone: Backbone) -> None:
    class Scaled(DenseAttention):
        def __init__(self, site: AttentionSite) -> None:
            super().__init__()
            self.proj_l = nn.Linear(site.head_dim, site.head_dim)

    names = set(backbone.state_dict())
    scope = widest(backbone)
    replaced = replace_attention(backbone, Scaled, where=lambda site: site.scope == scope)
    added = set(backbone.state_dict()) - names
    assert names <= set(backbone.state_dict())
    expected = {f"{s.name}.core.proj_l.{p}" for s in replaced.sites for p in ("weight", "bias")}
    assert added == expected
    replaced.undo()
    assert set(backbone.state_dict()) == names


def test_accepting_no_site_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="none of the"):
        replace_attention(backbone, lambda site: DenseAttention(), where=lambda site: False)


def test_it_trains(backbone: Backbone) -> None:
    trained = load_backbone(backbone.name, weights="random", seed=1).train()
    images = images_for(trained, 3)
    optimizer = torch.optim.Adam(trained.parameters(), lr=3e-4)
    goal, losses = None, []
    for _ in range(10):
        out = run(trained, images)
        depth = out.depth.log()
        goal = depth.detach().mean() + 0.7 if goal is None else goal
        loss = (depth - goal).abs().mean() + out.world_to_camera[..., 3].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@torch.no_grad()
def test_bfloat16_weights_and_autocast_stay_close(backbone: Backbone) -> None:
    images = images_for(backbone)
    exact = run(backbone, images)
    small = load_backbone(backbone.name, weights="random", seed=3, dtype=torch.bfloat16)
    half = run(small, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(backbone, images)
    for out in (half, cast):
        assert out.depth.dtype == out.world_to_camera.dtype == torch.float32
        assert ((out.depth - exact.depth).abs() / exact.depth).mean() < 0.02
        assert (out.world_to_camera - exact.world_to_camera).abs().max() < 0.05


@torch.no_grad()
def test_float64_weights_agree_with_float32(backbone: Backbone) -> None:
    images = images_for(backbone)
    double = load_backbone(backbone.name, weights="random", seed=3, dtype=torch.float64)
    exact, out = run(double, images.double()), run(backbone, images)
    assert ((out.depth - exact.depth).abs().max() / exact.depth.max()) < 1e-4


def test_weights_survive_a_file(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(backbone.state_dict(), path)
    again = load_backbone(backbone.name, weights=path)
    assert again.weights is not None and again.weights.kind == "file"
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_seed_means_the_same_weights_and_leaves_the_state_alone(backbone: Backbone) -> None:
    state = torch.random.get_rng_state()
    again = load_backbone(backbone.name, weights="random", seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    pairs = zip(again.parameters(), backbone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = load_backbone(backbone.name, weights="random", seed=4)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(other.parameters(), backbone.parameters(), strict=True)
    )


@torch.no_grad()
def test_shapes_can_be_had_without_computing(backbone: Backbone) -> None:
    images = images_for(backbone)
    empty = build_on_meta(backbone.name)
    out, full = run(empty, images.to("meta")), run(backbone, images)
    assert out.depth.is_meta and out.depth.shape == full.depth.shape


def test_meta_builds_have_the_same_names(backbone: Backbone) -> None:
    empty = build_on_meta(backbone.name).state_dict()
    assert all(tensor.is_meta for tensor in empty.values())
    full = backbone.state_dict()
    assert {n: t.shape for n, t in empty.items()} == {n: t.shape for n, t in full.items()}


@given(data=st.data())
@settings(max_examples=10)
def test_photos_of_any_size_run(backbone: Backbone, data: Any) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(30, 90), st.integers(30, 90)), max_size=2))
    photos = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8).numpy() for size in sizes]
    photos.append(torch.randint(0, 256, (64, 48, 3), dtype=torch.uint8).numpy())
    prepared = preprocess(photos, backbone, size=56)
    with torch.no_grad():
        out = run(backbone, prepared.images)
    back = prepared.depth_to_photos(out.depth)
    assert [tuple(d.shape) for d in back] == [p.shape[:2] for p in photos]
    assert back[-1].isfinite().any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: x[0], "shape"),
        (lambda x: x[:, :0], "at least one"),
        (lambda x: x[:, :, :2], "shape"),
        (lambda x: x[..., :-1], "multiples"),
        (lambda x: (x * 255).to(torch.uint8), "divide by 255"),
        (lambda x: x * 255, "range"),
        (lambda x: x - 0.5, "range"),
        (lambda x: x.clone().fill_(float("nan")), "nan"),
    ],
)
def test_images_that_break_the_rules_are_refused(backbone: Backbone, make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        backbone(make(images_for(backbone)))


class Readings(TorchDispatchMode):
    """Counts how often the range of a tensor is asked for: a GPU waits there for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ranges += func is torch.ops.aten.aminmax.default
        return func(*args, **(kwargs or {}))


def test_images_are_read_once(backbone: Backbone) -> None:
    images = images_for(backbone)
    with Readings() as found:
        run(backbone, images)
    assert found.ranges == 1
    internals = getattr(backbone, "internals", None)
    if internals is None:
        return
    with Readings() as inside:
        internals(images)
    assert inside.ranges == 1
    with pytest.raises(ValueError, match="images range over"):
        internals(images * 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"head_chunk": 0}, "head_chunk=0"),
        ({"heads": ("depth", "normals")}, "head='normals'; it must be known: pass one of"),
    ],
)
@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny", "da3metric-tiny"])
def test_unknown_options_are_refused(name: str, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_on_meta(name).internals(torch.rand(1, 2, 3, 28, 28), **options)


def test_unknown_words_and_blocks_are_refused() -> None:
    # Where literals are enforced they speak first, with a TypeError of their own.
    da3: Any = build_on_meta("da3-tiny")
    images = torch.rand(1, 2, 3, 28, 28)
    with pytest.raises(ValueError, match="feature block=10"):
        da3.internals(images, features=(3, 10))
    with pytest.raises(ValueError, match="gaussians"):
        da3.internals(images, heads=("gaussians",))
    for run in (
        lambda: da3(images, reference="best"),
        lambda: da3(images, cameras="guess"),
        lambda: da3.set_token_order("spiral"),
    ):
        with pytest.raises((ValueError, TypeError), match=r"best|guess|spiral"):
            run()
    queries = torch.full((1, 2, 2), float("nan")), *(torch.ones(s) for s in ((1, 0, 2), (1, 2)))
    for wrong in queries:
        with pytest.raises((ValueError, TypeError), match="queries"):
            build_on_meta("vggt-tiny").track(images, wrong)


@pytest.mark.parametrize(("name", "side"), [("vggt-tiny", 14), ("vggt-1b", 126)])
def test_images_too_small_to_track_in_are_refused(name: str, side: int) -> None:
    queries: Any = torch.ones(1, 1, 2)
    with pytest.raises(ValueError, match=r"images have shape .*; .* tracks in sides of at least"):
        build_on_meta(name).track(torch.rand(1, 2, 3, 224, side), queries)


@torch.inference_mode()
def test_the_smallest_images_can_be_tracked_in() -> None:
    net = load_backbone("vggt-tiny", weights="random")
    assert net.track(torch.rand(1, 2, 3, 28, 28), torch.ones(1, 1, 2)).visibility.shape == (1, 2, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_cuda_agrees_with_the_cpu(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    images = images_for(backbone, 4, (9, 10))
    here = run(backbone, images)
    far = load_backbone(backbone.name, weights="random", seed=3, device="cuda")
    there = run(far, images.cuda())
    for name in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
        a, b = getattr(there, name).cpu(), getattr(here, name)
        assert (a - b).abs().max() <= 1e-4 * b.abs().max(), name


def test_every_name_is_listed() -> None:
    assert set(NAMES) <= set(list_backbones())
