"""The definition of the sparse branch: a masked softmax, quadratic in memory."""

from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor


def sparse_attention_reference(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Bool[Tensor, "b h n m"],
    scale: float,
) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h n"]]:
    """Return softmax(scale q k^T where mask) v and the log-sum-exp of the scores."""
    group = q.shape[1] // k.shape[1]
    k, v = (repeat(x, "b g m d -> b (g r) m d", r=group) for x in (k, v))
    scores = (scale * q @ k.mT).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v, scores.logsumexp(-1)
