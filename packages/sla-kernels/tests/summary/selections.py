"""Drawn tokens, selections of few rows of them, and attention by its definition."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels import SparseLinearAttention, SummarySelection, select_rows, sla_attention

SIZES = [(1,), (4,), (4, 16), (2, 8, 64), (5, 15)]


def draw(
    tokens: int, keys: int, *, heads: int = 2, groups: int = 2, batch: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = [(batch, heads, tokens, 8), (batch, groups, keys, 8), (batch, groups, keys, 8)]
    q, k, v = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shape)
    return q, k, v


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(
        q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    )


def select(q: Tensor, k: Tensor, v: Tensor, **options: object) -> SummarySelection:
    settings = {"keep": 3, "block": (16, 4), "summary": (4, 16), "opened": 3, "axes": 4}
    made = {**settings, **options}
    if isinstance(made["summary"], tuple):
        made["block"] = (made["block"][0], made["summary"][0])
    return select_rows(q, k, v, **made)


def few(q: Tensor, k: Tensor, v: Tensor, **options: object) -> SummarySelection:
    """A selection that lists few rows however few tokens there are."""
    from sla_kernels.search import choice

    worth, choice.WORTH = choice.WORTH, 10.0
    try:
        return select(q, k, v, **options)
    finally:
        choice.WORTH = worth


def by_operator(q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection) -> Tensor:
    return sla_attention(q, k, v, selection=selection, linear=None, backend="eager")


def by_definition(q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection) -> Tensor:
    """Means, entropies and softmax written out scene by scene, to be differentiated as they are."""
    group = q.shape[1] // k.shape[1]
    layout, own = selection.layout, q.shape[2] == k.shape[2]
    out = dense(q, k, v).clone()
    for scene, order in enumerate(selection.order):
        for head in range(q.shape[1]):
            g = head // group
            ks, vs = k[scene, g][order], v[scene, g][order]
            keys, values = [*ks], [*vs]
            bias = [torch.zeros((), dtype=q.dtype)] * len(keys)
            absent = (torch.zeros_like(ks[0]), torch.tensor(-torch.inf, dtype=q.dtype))
            for _ in range(layout.padded - layout.tokens):
                keys.append(absent[0]), values.append(absent[0]), bias.append(absent[1])
            for level, size in enumerate(layout.sizes):
                more = 0 if selection.offsets is None else selection.offsets[g, level].double()
                for start in range(0, layout.tokens, size):
                    part = slice(start, min(start + size, layout.tokens))
                    w = selection.tilt[scene, g][part].softmax(0)
                    keys.append(w @ ks[part]), values.append(w @ vs[part])
                    bias.append(-(w * w.log()).sum() + more)
            for position in selection.outside:
                keys.append(k[scene, g][position]), values.append(v[scene, g][position])
                bias.append(torch.zeros((), dtype=q.dtype))
            keys.append(absent[0]), values.append(absent[0]), bias.append(absent[1])
            K, V, B = torch.stack(keys), torch.stack(values), torch.stack(bias)
            queries = order if own else torch.arange(q.shape[2])
            made = []
            for place, position in enumerate(queries.tolist()):
                rows = selection.rows[scene, head, place // selection.block_q].long()
                scores = K[rows] @ q[scene, head, position] * q.shape[3] ** -0.5 + B[rows]
                made.append(scores.softmax(0) @ V[rows])
            out[scene, head] = out[scene, head].index_put((queries,), torch.stack(made))
    return out


def make(**options: object) -> SparseLinearAttention:
    settings = {"keep": 3, "block": (16, 4), "order": "content", "summary": (4, 16), "axes": 4}
    return SparseLinearAttention(8, **{**settings, "opened": 3, **options}).double()
