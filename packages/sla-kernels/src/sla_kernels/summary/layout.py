"""Where everything stands in the rows that queries attend: tokens in order, then cells by size.

    rows = [ordered tokens | cells of the first size | ... | cells of the last | pinned | nothing]

Tokens are padded to whole cells of the first size. The last row is nothing: lists of blocks that
are shorter than others are filled up with it, and its bias keeps it out of every softmax.
"""

from typing import NamedTuple

from torch import Tensor

from sla_kernels.runtime.parts import Heads
from sla_kernels.select.blocks import num_blocks
from sla_kernels.select.ranks import larger, smaller


class Layout(NamedTuple):
    """Sizes and places, all known from shapes.

    - `tokens`: those in the order, pinned ones left out.
    - `sizes`: tokens in a cell, each a multiple of the one before.
    """

    tokens: int
    pinned: int
    sizes: tuple[int, ...]

    def cells(self, level: int) -> int:
        """How many cells there are of a size."""
        return num_blocks(self.tokens, self.sizes[level])

    @property
    def padded(self) -> int:
        """Tokens and padding."""
        return self.cells(0) * self.sizes[0]

    def first(self, level: int) -> int:
        """The row of the first cell of a size; one level too many gives that of the pinned."""
        return self.padded + sum(self.cells(i) for i in range(level))

    @property
    def nothing(self) -> int:
        """The row that stands for nothing."""
        return self.first(len(self.sizes)) + self.pinned

    @property
    def rows(self) -> int:
        """All rows."""
        return self.nothing + 1

    def fanout(self, level: int) -> int:
        """How many cells of the size below, or tokens, a cell holds."""
        return self.sizes[level] // (self.sizes[level - 1] if level else 1)

    def room(self, level: int) -> int:
        """Cells of a size, were every cell of the next one whole, and one more of that."""
        if level == len(self.sizes) - 1:
            return self.cells(level) + 1
        return (self.cells(level + 1) + 1) * self.fanout(level + 1)

    @property
    def rooms(self) -> list[int]:
        """The room for cells of every size."""
        return [self.room(level) for level in range(len(self.sizes))]


class Budget(NamedTuple):
    """What a query block looks at on its way down, by level; at the first are key blocks.

    - `candidates`: from how many cells those of a level are chosen.
    - `chosen`: how many of them are opened, and of key blocks read exactly.
    """

    candidates: tuple[int, ...]
    chosen: tuple[int, ...]

    def listed(self, layout: Layout, summaries: bool) -> int:
        """The length of every list."""
        exact = layout.pinned + self.chosen[0] * layout.sizes[0]
        return exact + (sum(self.candidates) - sum(self.chosen) if summaries else 0)


def budget_of(exact: int, opened: int, layout: Layout) -> Budget:
    """Open at each level what is asked for, and at least what the level below needs."""
    asked = [exact]
    for level in range(1, len(layout.sizes)):
        asked.append(larger(opened, num_blocks(asked[-1], layout.fanout(level))))
    found = layout.cells(len(layout.sizes) - 1)
    candidates: list[int] = []
    chosen: list[int] = []
    for level in range(len(layout.sizes) - 1, -1, -1):
        candidates.insert(0, found)
        chosen.insert(0, smaller(asked[level], found))
        found = chosen[0] * layout.fanout(level)
    return Budget(tuple(candidates), tuple(chosen))


class RowLists(NamedTuple):
    """A selection, as the operators take it: see `SummarySelection`."""

    order: Tensor
    rows: Tensor
    tilt: Tensor
    outside: Tensor
    block_q: int
    sizes: tuple[int, ...]
    offsets: Tensor | None

    def of(self, heads: Heads) -> "RowLists":
        """The lists of some heads."""
        return self._replace(
            rows=self.rows[:, heads.queries],
            tilt=self.tilt[:, heads.keys],
            offsets=None if self.offsets is None else self.offsets[heads.keys],
        )

    def layout(self, num_keys: int) -> Layout:
        """Where rows of so many keys stand."""
        pinned = self.outside.shape[0]
        return Layout(num_keys - pinned, pinned, tuple(self.sizes))
