"""Attention whose core can be replaced: projections, norms and rotation stay with the network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.blocks.onednn import by_onednn
from recon_backbones.blocks.precision import multiplies_bfloat16
from recon_backbones.blocks.rope import RotaryTable, rotate

_SHORT = 2**20  # weights that are made at once: they stay in a core's cache


class DenseAttention(nn.Module):
    """Softmax attention over all keys, by PyTorch's fused kernel.

    Short sequences of bfloat16 on a CPU, as those of one view are, go by two products, which take
    half the time there where the processor multiplies bfloat16; gradients keep the kernel.
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
        attend = _by_products if _gains_by_products(q, k, v) else F.scaled_dot_product_attention
        return attend(q, k, v)


def _gains_by_products(*tokens: Tensor) -> bool:
    q, k, _ = tokens
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return (
        not (traced or torch.compiler.is_compiling())  # first, as nothing else here is traced
        and q.device.type == "cpu"
        and q.dtype == torch.bfloat16
        and q.shape[2] * k.shape[2] <= _SHORT
        and multiplies_bfloat16()
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in tokens))
    )


def _by_products(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n d"]:
    """Attend a few views and heads at a time; the output lies token by token, as the kernel's."""
    b, h, n, d = q.shape
    out = rearrange(q.new_empty(b, n, h, d), "b n h d -> b h n d")
    each = n * k.shape[2]
    views, heads = max(1, _SHORT // (each * h)), max(1, min(h, _SHORT // each))
    for view in range(0, b, views):
        for head in range(0, h, heads):
            some = (slice(view, view + views), slice(head, head + heads))
            weights = (q[some] * d**-0.5) @ k[some].mT
            out[some] = torch.softmax(weights, -1, out=weights) @ v[some]
    return out


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
        weights = (q * q.shape[-1] ** -0.5) @ k.mT
        return weights.softmax(dim=-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention: projections, optional norms and rotation around a core.

    The core is called as `core(q, k, v, pinned=pinned)` with `b h n d` tensors of one dtype, after
    the norms and the rotation; `pinned` holds the positions of the special tokens in the sequence.
    """

    def __init__(self, width: int, num_heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"width={width}; it must be a multiple of num_heads={num_heads}: change one of them"
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
        slice_tokens: int | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Mix the tokens of each sequence.

        With `slice_tokens`, longer sequences are projected, normed and rotated so many tokens at a
        time: beside x, queries, keys, values and the output nothing is as long as they are.
        """
        slices = [slice(None)] if slice_tokens is None else _slices(x.shape[:2], slice_tokens)
        mixed = self.core(*self._heads(x, rope, slices), pinned=pinned)
        rows = (rearrange(mixed[:, :, i], "b h n d -> b n (h d)") for i in slices)
        out = [by_onednn(self.proj, x) for x in rows]
        return out[0] if len(out) == 1 else torch.cat(out, dim=1)

    def _heads(self, x: Tensor, rope: RotaryTable | None, slices: list[slice]) -> list[Tensor]:
        """Queries, keys and values, `b h n d` each."""
        whole: list[Tensor] = []
        for i in slices:
            of_slice = None if rope is None else RotaryTable(*(table[i] for table in rope))
            found = self._heads_of(x[:, i], of_slice)
            if len(slices) == 1:
                return found
            whole = whole or [
                rearrange(f.new_empty(len(x), x.shape[1], *f.shape[1::2]), "b n h d -> b h n d")
                for f in found
            ]
            for to, part in zip(whole, found, strict=True):
                to[:, :, i] = part
        return whole

    def _heads_of(self, x: Tensor, rope: RotaryTable | None) -> list[Tensor]:
        q, k, v = rearrange(
            by_onednn(self.qkv, x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.num_heads
        ).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        # Autocast leaves normalized q and k in fp32; a core sees one dtype.
        return [q.to(v.dtype), k.to(v.dtype), v]


def _slices(shape: Sequence[int], tokens: int) -> list[slice]:
    """Runs of a sequence's tokens, of all sequences together at most so many, one at least."""
    step = max(1, tokens // shape[0])
    return [slice(start, start + step) for start in range(0, shape[1], step)]
