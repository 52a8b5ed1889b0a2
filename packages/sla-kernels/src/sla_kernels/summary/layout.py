"""Where everything stands in the rows that queries attend: tokens in order, then cells by size.

    rows = [ordered tokens | cells of the first size | ... | cells of the last | pinned | nothing]

Tokens are padded to whole cells of the first size. The last row is nothing: lists of blocks that
are shorter than others are filled up with it, and its bias keeps it out of every softmax.
"""

from typing import NamedTuple

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
    """How many cells a query block opens at each level; at the first, how many it reads exactly."""

    opened: tuple[int, ...]

    def candidates(self, layout: Layout, level: int) -> int:
        """From how many cells those of a level are chosen."""
        if level == len(layout.sizes) - 1:
            return layout.cells(level)
        return self.chosen(layout, level + 1) * layout.fanout(level + 1)

    def chosen(self, layout: Layout, level: int) -> int:
        """How many of them are opened."""
        return smaller(self.opened[level], self.candidates(layout, level))

    def listed(self, layout: Layout, summaries: bool) -> int:
        """The length of every list."""
        exact = self.chosen(layout, 0) * layout.sizes[0]
        if not summaries:
            return layout.pinned + exact
        levels = range(len(layout.sizes))
        rest = sum(self.candidates(layout, i) - self.chosen(layout, i) for i in levels)
        return layout.pinned + exact + rest


def budget_of(exact: int, opened: int, layout: Layout) -> Budget:
    """Open at each level what is asked for, and at least what the level below needs."""
    counts = [exact]
    for level in range(1, len(layout.sizes)):
        needed = num_blocks(counts[-1], layout.fanout(level))
        counts.append(larger(opened, needed))
    return Budget(tuple(counts))
