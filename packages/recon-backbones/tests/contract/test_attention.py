"""The attention of every backbone: its sites, its cores, and their training."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recon_backbones import (
    Attention,
    AttentionSite,
    Backbone,
    DenseAttention,
    MatmulAttention,
    load_backbone,
    replace_attention,
)

from .named import images_for, run, widest


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
