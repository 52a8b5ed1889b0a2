"""What is computed, as plainly as it can be said; memory grows with queries times listed rows."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from sla_kernels.summary.rows import Rows


def summary_reference(
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    lists: Int[Tensor, "b h i listed"],
    block_q: int,
    scale: float,
) -> Float[Tensor, "b h n d"]:
    """Softmax of ordered queries over the rows that their block lists.

    out = sum_r p_r v_r with p = softmax_r(scale q . k_r + bias_r).
    """
    group = q.shape[1] // rows.keys.shape[1]
    keys, values = (repeat(x, "b g m d -> b (g r) m d", r=group) for x in rows[:2])
    bias = repeat(rows.bias, "b g m -> b (g r) m", r=group)
    blocks = torch.arange(q.shape[2], device=q.device) // block_q
    of_query = lists.long()[:, :, blocks]  # b h n listed
    flat = rearrange(of_query, "b h n r -> b h (n r)")
    taken = [
        rearrange(
            x.gather(2, repeat(flat, "b h m -> b h m d", d=q.shape[3])),
            "b h (n r) d -> b h n r d",
            n=q.shape[2],
        )
        for x in (keys, values)
    ]
    scores = torch.einsum("bhnd,bhnrd->bhnr", q.to(keys), taken[0]) * scale
    weights = (scores + bias.gather(2, flat).reshape(scores.shape)).softmax(-1)
    return torch.einsum("bhnr,bhnrd->bhnd", weights, taken[1]).to(q.dtype)
