"""What is found out once about an attention: the axes of its order, and what its cells understate.

A cell never overstates its mass (see `summary.weights`); heads whose queries look for single keys
get too little from cells. One number for each key head and size of cell, added to the log of the
mass, brings the answers nearest to those of dense attention. Nearest by the mean distance over
queries, not by its square, which few queries would rule.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.axes import axes_of, in_float64
from sla_kernels.runtime.autocast import in_own_type
from sla_kernels.search.choose import free
from sla_kernels.summary import SummarySelection
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.rows import rows_of
from sla_kernels.summary.weights import weights_of

QUERIES = 512  # of each head of a call: what a few numbers are fitted to
MOST = 8 * QUERIES  # of all calls together: of many calls fewer queries each
RIDGE = 2e-3  # holds numbers that no query asks for
TURNS = 40  # of the search for the nearest


class Answers(NamedTuple):
    """What some queries get from exact rows and from the cells of each size, and should get."""

    masses: Float[Tensor, "h n parts"]  # their logs
    outputs: Float[Tensor, "h n parts d"]
    dense: Float[Tensor, "h n d"]


class Moments:
    """The first two moments of keys, all heads side by side, over every call."""

    def __init__(self) -> None:
        self.count = self.key_heads = 0
        self.total: Tensor | None = None
        self.products: Tensor | None = None
        self.device = torch.device("cpu")

    def add(self, q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection, _: float) -> None:
        """Count the keys of one call, pinned ones left out; what is not finite is zero, as in
        orders whose axes are computed anew."""
        self.device, self.key_heads = k.device, _as_before(self.key_heads, k)
        tokens = k.detach().index_select(2, free(k, selection.outside)).nan_to_num(0, 0, 0)
        rows = rearrange(in_float64(tokens), "b g m d -> (b m) (g d)")
        if self.total is None or self.products is None:
            width = rows.shape[1]
            self.total = rows.new_zeros(width)
            self.products = rows.new_zeros(width, width)
        self.count += rows.shape[0]
        self.total += rows.sum(0)
        self.products += rows.T @ rows

    def axes(self, number: int) -> Float[Tensor, "c a"]:
        """The principal axes of everything that was counted, in float32."""
        assert self.total is not None and self.products is not None
        mean = self.total / self.count
        return (
            axes_of(self.products / self.count - mean.outer(mean), number).float().to(self.device)
        )


class Understated:
    """What cells answered in every call, beside dense attention; no more than `MOST` queries."""

    def __init__(self) -> None:
        self.count = 0
        self.every = 1  # of the queries, that is kept
        self.key_heads = 0
        self.answers: list[Answers] = []
        self.device = torch.device("cpu")

    def add(
        self, q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection, scale: float
    ) -> None:
        """Note the answers of one call; none where dense attention runs."""
        self.device, self.key_heads = k.device, _as_before(self.key_heads, k)
        self.count += 1
        if selection.summaries and not selection.keeps_all:
            with in_own_type(k):
                found = answers_of(q.detach(), k.detach(), v.detach(), selection, scale)
            finite = (one for one in found if one.dense.isfinite().all())
            self.answers += [thinned(one, self.every) for one in finite]
            self._bound()

    def _bound(self) -> None:
        counts = [one.dense.shape[1] for one in self.answers]
        while sum(counts) > MOST and max(counts) > 1:
            self.every *= 2
            self.answers = [thinned(one, 2) for one in self.answers]
            counts = [one.dense.shape[1] for one in self.answers]

    def offsets(self, sizes: int) -> Float[Tensor, "g sizes"]:
        """What to add to the log of the mass of cells, in float32; zero where none was met."""
        return fitted(self.answers, self.key_heads, sizes).to(self.device)


def _as_before(heads: int, k: Float[Tensor, "b g m d"]) -> int:
    """The heads of the keys. Raises ValueError where calls before had others, 0 for none."""
    if heads not in (0, k.shape[1]):
        raise ValueError(
            f"k has {k.shape[1]} heads, and had {heads} in a call before; what is found is by "
            "head, so they must agree: give each number of heads a module of its own"
        )
    return k.shape[1]


def thinned(answers: Answers, every: int) -> Answers:
    """Every so many of the queries, from the first on, in memory of their own."""
    return answers if every == 1 else Answers(*(x[:, ::every].clone() for x in answers))


def answers_of(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    selection: SummarySelection,
    scale: float,
) -> list[Answers]:
    """The answers of cells without offsets, scene by scene, for queries spread over the order."""
    layout = selection.layout
    weights = weights_of(selection.tilt, layout)
    rows = rows_of(k, v, selection.order, selection.outside, weights, layout)
    group, own = q.shape[1] // k.shape[1], q.shape[2] == k.shape[2]
    queries = layout.tokens if own else q.shape[2]
    places = torch.arange(0, queries, max(1, queries // QUERIES), device=q.device)
    part, made = _part_of_row(layout, q.device), []
    for scene, order in enumerate(selection.order):
        asked = q[scene][:, order[places] if own else places].to(rows.keys)
        listed = selection.rows[scene][:, places // selection.block_q].long()
        of_heads = (repeat(x[scene], "g ... -> (g r) ...", r=group) for x in rows)
        heads = zip(asked, *of_heads, listed, strict=True)
        found = [
            _of_head(one, keys, values, bias, named, part, len(layout.sizes) + 1, scale)
            for one, keys, values, bias, named in heads
        ]
        made.append(Answers(*(torch.stack(x) for x in zip(*found, strict=True))))
    return made


def _of_head(
    q: Float[Tensor, "n d"],
    keys: Float[Tensor, "rows d"],
    values: Float[Tensor, "rows d"],
    bias: Float[Tensor, " rows"],
    listed: Int64[Tensor, "n listed"],
    part: Int64[Tensor, " rows"],
    parts: int,
    scale: float,
) -> Answers:
    scores = torch.addmm(bias, q, keys.T, alpha=scale)
    named = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, listed, True)
    groups = [scores.masked_fill(~(named & (part == i)), -torch.inf) for i in range(parts)]
    every = scores.masked_fill(part != 0, -torch.inf)
    return Answers(
        torch.stack([x.logsumexp(1) for x in groups], 1),
        torch.stack([x.softmax(1).nan_to_num(0) @ values for x in groups], 1),
        every.softmax(1) @ values,
    )


def fitted(calls: Sequence[Answers], key_heads: int, sizes: int) -> Float[Tensor, "g sizes"]:
    """The offsets whose answers are nearest to dense attention's.

    A size that no call listed gets what the size below it gets.
    """
    if not calls:
        return torch.zeros(key_heads, sizes, dtype=torch.float32, device="cpu")
    with torch.inference_mode(False), torch.enable_grad():
        calls = [Answers(*(x.clone() for x in call)) for call in calls]
        offsets = calls[0].dense.new_zeros(key_heads, sizes).requires_grad_()
        search = torch.optim.LBFGS([offsets], max_iter=TURNS, line_search_fn="strong_wolfe")

        def step() -> Tensor:
            search.zero_grad()
            loss = _distance(calls, offsets) + RIDGE * offsets.square().sum()
            loss.backward()
            return loss

        search.step(step)
    found = offsets.detach().float()
    met = [any(_lists(call, size) for call in calls) for size in range(sizes)]
    for size in range(1, sizes):
        if not met[size]:
            found[:, size] = found[:, size - 1]
    return found


def _distance(calls: Sequence[Answers], offsets: Float[Tensor, "g sizes"]) -> Tensor:
    """The mean distance from dense answers, relative to their size, summed over heads."""
    total = offsets.new_zeros(())
    for masses, outputs, dense in calls:
        heads = repeat(offsets, "g sizes -> (g r) sizes", r=len(masses) // len(offsets))
        added = torch.cat([heads.new_zeros(len(heads), 1), heads[:, : masses.shape[2] - 1]], 1)
        shares = (masses + rearrange(added, "h parts -> h 1 parts")).softmax(2)
        gap = (rearrange(shares, "h n parts -> h n parts 1") * outputs).sum(2) - dense
        usual = dense.square().sum(2).mean(1)
        least = (1e-6 * usual).clamp_min(torch.finfo(usual.dtype).tiny)  # a root of 0 has no slope
        far = (gap.square().sum(2) + rearrange(least, "h -> h 1")).sqrt().mean(1)
        total = total + (far / usual.sqrt().clamp_min(1e-12)).sum()
    return total / len(calls)


def _lists(call: Answers, size: int) -> bool:
    masses = call.masses
    return size + 1 < masses.shape[2] and bool(masses[:, :, size + 1].isfinite().any())


def _part_of_row(layout: Layout, device: torch.device) -> Int64[Tensor, " rows"]:
    """0 for tokens, 1 and up for cells by size, -1 for what is nothing."""
    part = torch.full((layout.rows,), -1, device=device)
    part[: layout.tokens] = 0
    for size in range(len(layout.sizes)):
        part[layout.first(size) : layout.first(size + 1)] = size + 1
    part[layout.first(len(layout.sizes)) : layout.nothing] = 0
    return part
