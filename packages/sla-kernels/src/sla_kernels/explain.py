"""What an attention call would run, in words and numbers."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.backend import Selection, crossover, resolve, tile_of
from sla_kernels.chosen import given_or_chosen
from sla_kernels.order.given import Ordering
from sla_kernels.runtime.autocast import under_autocast
from sla_kernels.runtime.checks import check_attention_inputs
from sla_kernels.search.walk import part_of
from sla_kernels.select.selection import BlockSelection
from sla_kernels.summary.selection import SummarySelection


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What enters the softmax of a query, and what that costs beside dense attention.

    - `exact`: tokens read exactly, pinned ones left out. `summaries`: cells that answer for others.
    - `scored`: mean keys that were scored for each part of a query block to choose the above.
    - `share`: products for a query, choice and attention together, as a share of dense attention's.
    """

    order: str
    sizes: tuple[int, ...]
    exact: int
    summaries: int
    scored: int
    share: float

    def __str__(self) -> str:
        cells = ", ".join(map(str, self.sizes))
        return (
            f"{self.exact} keys exactly and {self.summaries} summaries, cells of {cells} tokens in "
            f"{self.order} order; {100 * self.share:.1f} % of dense attention's products"
        )


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What runs and why. `density` is the share of query-key pairs attended exactly."""

    backend: str
    reason: str
    tile: str
    block: tuple[int, int]
    key_blocks: int
    kept_blocks: tuple[int, int]  # the fewest and the most of any row
    pinned: int
    density: float
    dense: bool  # every key block is kept, so dense attention is what is computed
    crossover: tuple[float, float] | None  # densities, see `backend.crossover`; None: not measured
    seen: "Seen | None" = None  # what a query sees, where rows are listed

    def __str__(self) -> str:
        low, high = self.kept_blocks
        kept = str(low) if low == high else f"{low} to {high}"
        lines = [
            f"backend  {self.backend}: {self.reason}",
            f"tile     {self.tile}",
            f"blocks   {kept} of {self.key_blocks} key blocks, {self.block} tokens, "
            f"{self.pinned} tokens pinned",
            f"density  {self.density:.4f}" + (" (dense: every block is kept)" * self.dense),
            f"dense    {self._beside_dense()}",
            *([f"a query  sees {self.seen}"] if self.seen else []),
        ]
        return "\n".join(lines)

    def _beside_dense(self) -> str:
        if self.crossover is None:
            return "from which density dense attention is faster on this device is not measured"
        cases = zip(("without gradients", "with gradients"), self.crossover, strict=True)
        return "; ".join(
            f"{case} {'dense attention' if self.density >= at else 'this selection'} is faster "
            f"(crossover at density {at})"
            for case, at in cases
        )


def explain(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    *,
    keep: float | int | None = None,
    selection: Selection | None = None,
    block: tuple[int, int] = (128, 64),
    order: str | Ordering = "sequence",
    summary: int | tuple[int, ...] | None = None,
    opened: int = 20,
    axes: int | Float[Tensor, "c a"] = 8,
    pinned: Int64[Tensor, " pinned"] | None = None,
    backend: str = "auto",
) -> Explanation:
    """Say what `sla_attention` would run on these tensors: backend, tile, density, and why.

    "auto" picks who computes, never what: lists are obeyed as they are, and dense attention runs
    only where every block is kept. Where keeping fewer no longer pays, this says so. With
    order="content" or a summary it says what a query sees; values then count as spread as keys.
    Reads the lists, so on an accelerator it waits for the device.

    Raises ValueError where the call itself would.
    """
    q, k = under_autocast(q, k)
    check_attention_inputs(q, k, k)
    found = given_or_chosen(
        selection, q, k, k, keep=keep, block=block, order=order, summary=summary, opened=opened,
        axes=axes, pinned=pinned, scale=None,
    )  # fmt: skip
    name, _, reason = resolve(backend, q, found)
    kept = _kept(found)
    seen = None
    if isinstance(found, SummarySelection):
        seen = _seen(found, order if selection is None else _order_of(found))
    return Explanation(
        backend=name,
        reason=reason,
        tile=tile_of(name, q, found),
        block=found.block,
        key_blocks=found.key_blocks,
        kept_blocks=kept,
        pinned=found.num_pinned,
        density=found.density,
        dense=kept[0] == found.key_blocks,
        crossover=crossover(q),
        seen=seen,
    )


def _order_of(selection: SummarySelection) -> str:
    """The order of a selection that was made elsewhere."""
    return "sequence" if bool((selection.order.diff() > 0).all()) else "its own"


def _kept(selection: Selection) -> tuple[int, int]:
    """The fewest and the most key blocks that a query block attends."""
    if isinstance(selection, BlockSelection):
        return int(selection.counts.min()), int(selection.counts.max())
    exact = min(selection.exact, selection.key_blocks)
    return exact, exact


def _seen(selection: SummarySelection, order: str | Ordering) -> Seen:
    layout = selection.layout
    exact = min(selection.exact * layout.sizes[0], layout.tokens)
    summaries = selection.keys_seen - selection.num_pinned - exact if selection.summaries else 0
    parts = selection.block_q // part_of(selection.block_q)
    scored = layout.cells(len(layout.sizes) - 1) + summaries + selection.exact
    products = 2 * selection.keys_seen + scored * parts / selection.block_q
    return Seen(
        order=order if isinstance(order, str) else "a given",
        sizes=selection.sizes,
        exact=exact,
        summaries=max(0, summaries),
        scored=scored,
        share=products / (2 * selection.num_keys),
    )
