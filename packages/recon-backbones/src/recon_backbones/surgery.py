"""Exchange the cores of a backbone's attentions and put them back; compile its blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from recon_backbones.backbone import AttentionSite, Backbone
from recon_backbones.blocks.attention import Attention
from recon_backbones.blocks.transformer import Block


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """The cores that `replace_attention` took out, by site name."""

    sites: tuple[AttentionSite, ...]
    before: Mapping[str, nn.Module]
    backbone: Backbone

    def undo(self) -> None:
        """Put every former core back."""
        for name, core in self.before.items():
            _attention(self.backbone, name).core = core


def replace_attention(
    backbone: Backbone,
    make: Callable[[AttentionSite], nn.Module],
    where: Callable[[AttentionSite], bool] = lambda site: site.scope == "global",
) -> Replaced:
    """Give every attention that `where` accepts the core that `make` builds for its site.

    Only `<site>.core` changes: the state-dict names of the backbone's own weights stay, and a core
    with parameters adds names under `<site>.core.`. The new core takes the place of the old one as
    it is, so `make` decides its device and dtype.

    Raises ValueError if `where` accepts no site.
    """
    sites = backbone.attention_sites()
    chosen = tuple(site for site in sites if where(site))
    if not chosen:
        known = sorted({site.scope for site in sites})
        raise ValueError(f"where accepts none of the {len(sites)} attention sites; scopes: {known}")
    made = {site.name: make(site) for site in chosen}
    before = {site.name: _attention(backbone, site.name).core for site in chosen}
    for name, core in made.items():
        _attention(backbone, name).core = core
    return Replaced(sites=chosen, before=before, backbone=backbone)


def compile_blocks(backbone: Backbone, **options: Any) -> int:
    """Compile the transformer blocks of a backbone in place, for any sizes; return how many.

    Blocks that differ in weights alone share their code, so that few are compiled, each when it
    first runs: tens of seconds on a GPU. Exchange attention and deploy FP8 before. State-dict names
    stay. `options` go to `torch.compile`, in place of `dynamic=True` and `fullgraph=True`.
    """
    blocks = [module for module in backbone.modules() if isinstance(module, Block)]
    for block in blocks:
        block.compile(**{"dynamic": True, "fullgraph": True, **options})
    return len(blocks)


def _attention(backbone: Backbone, name: str) -> Attention:
    module = backbone.get_submodule(name)
    if not isinstance(module, Attention):
        raise ValueError(
            f"{name} is a {type(module).__name__}; it must be an Attention: replace its core"
        )
    return module
