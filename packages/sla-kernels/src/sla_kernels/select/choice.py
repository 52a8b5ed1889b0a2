"""How blocks are chosen: the settings, validated when made, and the choice itself."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.checks import (
    check_block,
    check_choice,
    check_fraction,
    check_keep,
    check_keys,
    check_pinned,
)
from sla_kernels.select.blocks import free_positions, num_blocks
from sla_kernels.select.op import Settings
from sla_kernels.select.ranks import KEEP_STEPS, kept_blocks, steps_of
from sla_kernels.select.scores import ESTIMATORS
from sla_kernels.select.selection import BlockSelection


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The settings of `select_blocks`, by the same names."""

    keep: float | int
    block: tuple[int, int] = (128, 64)
    estimator: str = "mean"
    top_p: float = 1.0
    keep_diagonal: bool = False
    negligible: float = 0.0
    scale: float | None = None

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_block(self.block)
        check_choice("estimator", self.estimator, tuple(ESTIMATORS))
        check_fraction("top_p", self.top_p, low_open=True)
        check_fraction("negligible", self.negligible, low_open=False)


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
    check_keys(q, k)
    choice = Choice(
        keep=keep,
        block=block,
        estimator=estimator,
        top_p=top_p,
        keep_diagonal=keep_diagonal,
        negligible=negligible,
        scale=scale,
    )
    return choose(q, k, pinned, choice)


def choose(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    pinned: Int64[Tensor, " pinned"] | None,
    choice: Choice,
) -> BlockSelection:
    """Choose blocks of queries and keys that fit together.

    Raises ValueError where these tokens cannot be pinned, or have no diagonal.
    """
    if pinned is not None:
        check_pinned(pinned, q.shape[2], k.shape[2], q.device)
        pinned = pinned if pinned.shape[0] else None
    if choice.keep_diagonal and q.shape[2] != k.shape[2]:
        raise ValueError(
            f"keep_diagonal=True with {q.shape[2]} queries and {k.shape[2]} keys; it must be a "
            "self-attention: pass keep_diagonal=False"
        )
    free_q, free_k = without_pinned(q.detach(), pinned), without_pinned(k.detach(), pinned)
    key_blocks = num_blocks(free_k.shape[2], choice.block[1])
    steps = steps_of(choice.negligible) if choice.negligible else 0
    settings = Settings(
        kept=kept_blocks(choice.keep, key_blocks),
        share=choice.top_p,
        block_q=choice.block[0],
        block_k=choice.block[1],
        keep_diagonal=choice.keep_diagonal,
        estimator=choice.estimator,
        negligible=key_blocks * steps // KEEP_STEPS,
        scale=q.shape[3] ** -0.5 if choice.scale is None else choice.scale,
    )
    indices, counts, skipped = torch.ops.sla_kernels.select_blocks(free_q, free_k, *settings)
    return BlockSelection(
        indices=indices,
        counts=counts,
        block=choice.block,
        num_queries=q.shape[2],
        num_keys=k.shape[2],
        pinned=pinned,
        negligible=skipped if choice.negligible else None,
        keeps_all=isinstance(choice.keep, float) and choice.keep == 1 and choice.top_p == 1,
    )


def without_pinned(x: Tensor, pinned: Tensor | None) -> Tensor:
    """The tokens outside `pinned`, in order; `x` itself if there are none pinned."""
    if pinned is None:
        return x
    return x.index_select(2, free_positions(x.shape[2], pinned))
