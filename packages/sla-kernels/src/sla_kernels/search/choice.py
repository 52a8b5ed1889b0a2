"""How rows are chosen: the settings, validated when made, and the choice itself."""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.given import Ordering, order_from
from sla_kernels.order.tokens import check_given, check_sizes
from sla_kernels.runtime.checks import (
    check_attention_inputs,
    check_choice,
    check_keep,
    check_pair,
    check_pinned,
    check_positive,
)
from sla_kernels.search.choose import Plan, free, shape_of_rows
from sla_kernels.select.ranks import kept_blocks
from sla_kernels.summary.layout import Layout, budget_of
from sla_kernels.summary.selection import EveryKey, SummarySelection

ORDERS = ("sequence", "content")
LEVELS = (16, 8)  # how much larger each size is where no summaries say so
WORTH = 0.3  # of all keys: longer lists cost more than reading every key


@dataclass(frozen=True, kw_only=True)
class RowChoice:
    """The settings of `select_rows`, by the same names.

    - `all_below`: of how many tokens, pinned ones included, every key is attended.
    """

    keep: float | int
    block: tuple[int, int] = (64, 4)
    order: str | Ordering = "content"
    summary: int | tuple[int, ...] | None = (4, 64, 512)
    opened: int = 20
    axes: int = 8
    scale: float | None = None
    all_below: int = 0

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_pair(self.block)
        if not callable(self.order):
            check_choice("order", self.order, ORDERS)
        for name, size in (("block", self.block[0]), ("opened", self.opened), ("axes", self.axes)):
            check_positive(name, size)
        check_sizes("summary", self.sizes)
        if self.sizes[0] != self.block[1]:
            raise ValueError(
                f"summary={self.summary!r} with block={self.block!r}; the smallest cells must be "
                f"the key blocks: pass block=({self.block[0]}, {self.sizes[0]})"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens in a key block and in the larger cells through which blocks are found."""
        if self.summary is None:
            first = self.block[1]
            return first, first * LEVELS[0], first * LEVELS[0] * LEVELS[1]
        return (self.summary,) if isinstance(self.summary, int) else tuple(self.summary)

    def _searched(self, layout: Layout, exact: int) -> Layout:
        """Without the sizes that make lists no shorter: the search begins below them."""
        while len(layout.sizes) > 1:
            below = layout._replace(sizes=layout.sizes[:-1])
            if self._listed(below, exact) > self._listed(layout, exact):
                break
            layout = below
        return layout

    def _listed(self, layout: Layout, exact: int) -> int:
        """The length of lists with all summaries."""
        return budget_of(exact, self.opened, layout).listed(layout, summaries=True)

    def plan(self, tokens: int, pinned: int, head_dim: int) -> Plan:
        """The settings for a number of tokens in the order: every block where lists are no gain."""
        layout = Layout(tokens, pinned, self.sizes)
        exact = kept_blocks(self.keep, layout.cells(0))
        layout = self._searched(layout, exact)
        summaries = self.summary is not None
        listed = budget_of(exact, self.opened, layout).listed(layout, summaries)
        short = tokens + pinned < self.all_below
        if short or listed > WORTH * (tokens + pinned):
            exact = layout.cells(0)
        return Plan(
            exact=exact,
            opened=self.opened,
            block_q=self.block[0],
            sizes=layout.sizes,
            content=self.order == "content",
            axes=self.axes,
            summaries=summaries,
            scale=head_dim**-0.5 if self.scale is None else self.scale,
        )


def select_rows(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    *,
    keep: float | int,
    block: tuple[int, int] = (64, 4),
    order: str | Ordering = "content",
    summary: int | tuple[int, ...] | None = (4, 64, 512),
    opened: int = 20,
    axes: int | Float[Tensor, "c a"] = 8,
    offsets: Float[Tensor, "heads sizes"] | None = None,
    pinned: Int64[Tensor, " pinned"] | None = None,
    scale: float | None = None,
) -> SummarySelection:
    """Choose, for each block of queries, the keys to attend exactly and the summaries of the rest.

    Tokens are put in one order for all heads, in which neighbors have alike keys; blocks and cells
    are runs of it. Cells of the coarsest size are scored for each query block; those whose summary
    would be most wrong (their mass times the spread of their keys and values) are opened into the
    cells they hold, and so on down to key blocks, which are attended exactly. No matrix of all
    blocks is made, and no gradient flows through the choice.

    - `keep`: how many key blocks each query block attends exactly, or their fraction in (0, 1].
    - `block`: queries and keys in a block.
    - `order`: "content", by the keys of all heads side by side; "sequence", as they come; or what
      makes an order: called with the keys of all heads side by side, `b n c` without pinned
      tokens, it returns their order, a permutation `b n` (see `SharedOrder`). It is not called
      where every block is attended.
    - `summary`: the size of cells, or several, each a multiple of the one before; the first is the
      key block. None lists no summaries.
    - `opened`: cells opened at each larger size; more where `keep` needs them.
    - `axes`: how many principal axes of the keys the order looks at, computed here from all scenes
      of the batch together, or the axes, with which no scene depends on those beside it.
    - `offsets`: what is added to the log of the mass of cells, by key head and size; `corrected`
      finds them.
    - `pinned`: positions that every query attends and that attend every key, outside the order.

    Every block is attended where the lists would be longer than three tenths of all tokens, with
    summaries or without.

    Raises ValueError where an argument cannot work.
    """
    check_attention_inputs(q, k, v)
    return choose_by(
        q, k, v, keep=keep, block=block, order=order, summary=summary, opened=opened, axes=axes,
        offsets=offsets, pinned=pinned, scale=scale,
    )  # fmt: skip


def choose_by(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    *,
    axes: int | Float[Tensor, "c a"],
    pinned: Int64[Tensor, " pinned"] | None,
    offsets: Float[Tensor, "heads sizes"] | None = None,
    **settings: Any,
) -> SummarySelection:
    """As `select_rows`, for tensors that were checked; the other settings are those of a choice."""
    given = axes if isinstance(axes, Tensor) else None
    if not isinstance(axes, Tensor):
        settings["axes"] = axes
    return choose(q, k, v, pinned, RowChoice(**settings), given, offsets)


def choose(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    pinned: Int64[Tensor, " pinned"] | None,
    choice: RowChoice,
    directions: Float[Tensor, "c a"] | None,
    offsets: Float[Tensor, "heads sizes"] | None,
) -> SummarySelection:
    """Choose rows for queries, keys and values that fit together.

    Raises ValueError where these tokens cannot be pinned, or the axes or offsets do not fit.
    """
    if pinned is not None:
        check_pinned(pinned, q.shape[2], k.shape[2], q.device)
    _check_axes(directions, k, choice)
    if offsets is not None:
        _check_offsets(offsets, k, choice)
    outside = torch.empty(0, dtype=torch.int64, device=q.device) if pinned is None else pinned
    plan = choice.plan(k.shape[2] - outside.shape[0], outside.shape[0], q.shape[3])
    layout = Layout(k.shape[2] - outside.shape[0], outside.shape[0], plan.sizes)
    fields: dict[str, Any] = {
        "block_q": plan.block_q, "sizes": plan.sizes, "summaries": plan.summaries,
        "exact": plan.exact, "offsets": offsets,
    }  # fmt: skip
    if plan.exact >= layout.cells(0):
        listed = shape_of_rows(q, k, layout, plan)[3]
        return EveryKey(q, k, outside, listed=listed, **fields)
    with torch.no_grad():
        made = _made_order(choice.order, k, outside)
        order, rows, tilt = torch.ops.sla_kernels.choose_rows(
            q.detach(), k.detach(), v.detach(), outside, directions, made, *plan
        )
    return SummarySelection(
        order=order,
        rows=rows,
        tilt=tilt,
        outside=outside,
        num_queries=q.shape[2],
        num_keys=k.shape[2],
        **fields,
    )


def _made_order(order: str | Ordering, k: Tensor, outside: Tensor) -> Tensor | None:
    """The order of the caller's own making, where that is what was asked for."""
    if isinstance(order, str):
        return None
    tokens = k.detach().index_select(2, free(k, outside))
    return order_from(order, rearrange(tokens, "b g n d -> b n (g d)"))


def _check_axes(directions: Tensor | None, k: Tensor, choice: RowChoice) -> None:
    features = k.shape[1] * k.shape[3]
    if directions is not None:
        check_given(directions, features)
        if directions.device != k.device:
            raise ValueError(
                f"axes are on {directions.device} and k on {k.device}; they must agree: pass "
                "axes.to(k.device)"
            )
    elif choice.axes > features and choice.order == "content":
        raise ValueError(
            f"axes={choice.axes} with keys of {features} features; it must not exceed them: "
            f"pass axes={features}"
        )


def _check_offsets(offsets: Tensor, k: Tensor, choice: RowChoice) -> None:
    expected = (k.shape[1], len(choice.sizes) if choice.summary is not None else 0)
    if tuple(offsets.shape) != expected or offsets.device != k.device:
        raise ValueError(
            f"offsets of shape {tuple(offsets.shape)} on {offsets.device}; they must be "
            f"{expected}, key heads by sizes of cells, on {k.device}: take those of `corrected`"
        )
