"""Attention whose core can be replaced: projections, norms and rotation stay with the backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .rope import RotaryTable, rotate

Scope = Literal["frame", "global", "camera"]


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One attention of a backbone: where it sits and what it attends over.

    `name` is the module path inside the backbone. `scope` says which tokens form one sequence:
    "frame" those of one view, "global" those of all views (view after view), "camera" one token
    per view. Each view brings `tokens_per_view` tokens, the first `special_tokens` of which are
    camera and register tokens; `tokens_per_view` is that of the backbone's own training size.
    """

    name: str
    scope: Scope
    num_heads: int
    head_dim: int
    special_tokens: int
    tokens_per_view: int


class DenseAttention(nn.Module):
    """Softmax attention over all keys, by PyTorch's fused kernel."""

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m d"],
        *,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """Attend; `pinned`, the positions of the special tokens, needs no care here."""
        return F.scaled_dot_product_attention(q, k, v)


class MatmulAttention(nn.Module):
    """Softmax attention over all keys, written as two matrix products.

    Equal to `DenseAttention` up to rounding. It stores the n x m weights, and trains faster than
    the fused kernel where sequences are short and the device is a CPU.
    """

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m d"],
        *,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """Attend; `pinned`, the positions of the special tokens, needs no care here."""
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        mixed: Tensor = weights.softmax(dim=-1) @ v
        return mixed


class Attention(nn.Module):
    """Multi-head self-attention: projections, optional norms and rotation around a core.

    The core is called as `core(q, k, v, pinned=pinned)` with `b h n d` tensors of one dtype, after
    the norms and the rotation; `pinned` holds the positions of the special tokens in the sequence.
    """

    def __init__(self, width: int, num_heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"width {width} is not a multiple of num_heads {num_heads}; change one of them"
            )
        self.num_heads = num_heads
        self.head_dim = width // num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.core: nn.Module = DenseAttention()
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        *,
        rope: RotaryTable | None = None,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Mix the tokens of each sequence."""
        b, n, _ = x.shape
        split = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)  # [b h n d]
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        # Autocast leaves normalised q and k in fp32; a core sees one dtype.
        mixed = self.core(q.to(v.dtype), k.to(v.dtype), v, pinned=pinned)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """The cores that `replace_attention` took out, by site name."""

    sites: tuple[AttentionSite, ...]
    before: Mapping[str, nn.Module]
    backbone: nn.Module

    def undo(self) -> None:
        """Put every former core back."""
        for name, core in self.before.items():
            _attention(self.backbone, name).core = core


def replace_attention(
    backbone: nn.Module,
    make: Callable[[AttentionSite], nn.Module],
    where: Callable[[AttentionSite], bool] = lambda site: site.scope == "global",
) -> Replaced:
    """Give every attention that `where` accepts the core that `make` builds for its site.

    Only `<site>.core` changes: the state-dict names of the backbone's own weights stay, and a core
    with parameters adds names under `<site>.core.`. The new core takes the place of the old one as
    it is, so `make` decides its device and dtype.

    Raises ValueError if `where` accepts no site.
    """
    sites = backbone.attention_sites()  # type: ignore[operator]
    chosen = tuple(site for site in sites if where(site))
    if not chosen:
        known = sorted({site.scope for site in sites})
        raise ValueError(f"where accepts none of the {len(sites)} attention sites; scopes: {known}")
    made = {site.name: make(site) for site in chosen}
    before = {site.name: _attention(backbone, site.name).core for site in chosen}
    for name, core in made.items():
        _attention(backbone, name).core = core
    return Replaced(sites=chosen, before=before, backbone=backbone)


def _attention(backbone: nn.Module, name: str) -> Attention:
    module = backbone.get_submodule(name)
    if not isinstance(module, Attention):
        raise ValueError(f"{name} is a {type(module).__name__}, not an Attention; replace its core")
    return module
