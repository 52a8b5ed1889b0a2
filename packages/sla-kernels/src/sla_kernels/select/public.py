"""The public way to choose blocks."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.checks import (
    check_block,
    check_choice,
    check_fraction,
    check_keep,
    check_keys,
    check_pinned,
)
from sla_kernels.select.blocks import BlockSelection, num_blocks
from sla_kernels.select.lists import KEEP_STEPS, kept_blocks, steps_of
from sla_kernels.select.scores import ESTIMATORS, SUBBLOCKS


def select_blocks(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    *,
    keep: float | int,
    block: tuple[int, int] = (128, 64),
    pinned: Int64[Tensor, " pinned"] | None = None,
    estimator: str = "mean",
    top_p: float = 1.0,
    keep_diagonal: bool = False,
    negligible: float = 0.0,
    scale: float | None = None,
) -> BlockSelection:
    """Choose, for each block of queries, the blocks of keys to attend.

    Blocks are scored in float32 and ranked; of equal scores the earlier block wins, so the choice
    is the same on every run. No gradient flows through it.

    - `keep`: a fraction of the key blocks in (0, 1], rounded down, or their number; at least one
      block is kept always.
    - `block`: tokens in a query block and in a key block.
    - `pinned`: positions that every query attends and that attend every key (camera and register
      tokens, say). Blocks are formed over the other tokens, in order.
    - `estimator`: "mean" scores by the product of block means; "subblock_lse" by the log-sum-exp
      over 4 by 4 sub-blocks, which misses fewer single keys that matter.
    - `top_p`: of the kept blocks, only the best ones that reach this share of the estimated
      softmax mass; below 1 the lists differ in length.
    - `keep_diagonal`: keep the block of the queries themselves too.
    - `negligible`: the fraction of worst blocks that the linear branch skips in scope "marginal".
    - `scale`: what scores are multiplied with; 1 / sqrt(d) if None.

    Raises ValueError where an argument cannot work.
    """
    check_selection_arguments(q, k, keep, block, pinned, estimator, top_p, negligible)
    if keep_diagonal and q.shape[2] != k.shape[2]:
        raise ValueError(
            f"keep_diagonal needs self-attention, but there are {q.shape[2]} queries "
            f"and {k.shape[2]} keys"
        )
    scale = q.shape[3] ** -0.5 if scale is None else scale
    free_q, free_k = without_pinned(q.detach(), pinned), without_pinned(k.detach(), pinned)
    key_blocks = num_blocks(free_k.shape[2], block[1])
    worst = key_blocks * (steps_of(negligible) if negligible else 0) // KEEP_STEPS
    indices, counts, skipped = torch.ops.sla_kernels.select_blocks(
        free_q,
        free_k,
        kept_blocks(keep, key_blocks),
        top_p,
        *block,
        keep_diagonal,
        estimator,
        worst,
        scale,
    )
    return BlockSelection(
        indices=indices,
        counts=counts,
        block=block,
        num_queries=q.shape[2],
        num_keys=k.shape[2],
        pinned=pinned,
        negligible=skipped if negligible else None,
        keeps_all=isinstance(keep, float) and keep == 1 and top_p == 1,
    )


def check_selection_arguments(
    q: Tensor,
    k: Tensor,
    keep: float | int,
    block: tuple[int, int],
    pinned: Tensor | None,
    estimator: str,
    top_p: float,
    negligible: float,
) -> None:
    """Refuse what no selection can be made of."""
    check_keys(q, k)
    check_keep(keep)
    check_block(block)
    check_choice("estimator", estimator, tuple(ESTIMATORS))
    check_fraction("top_p", top_p, low_open=True)
    check_fraction("negligible", negligible, low_open=False)
    if pinned is not None:
        check_pinned(pinned, q.shape[2], k.shape[2])
    assert all(size % SUBBLOCKS == 0 for size in block)


def without_pinned(x: Tensor, pinned: Tensor | None) -> Tensor:
    """The tokens outside `pinned`, in order; `x` itself if there are none pinned."""
    if pinned is None:
        return x
    last = torch.zeros(x.shape[2], dtype=torch.int8, device=x.device).index_fill(0, pinned, 1)
    free = last.argsort(stable=True)[: x.shape[2] - pinned.shape[0]]
    return x.index_select(2, free)
