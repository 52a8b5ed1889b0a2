"""Predict what listed rows cost on an H100, by counting: bytes and products, nothing is run.

    python benchmarks/predict_rows.py --out rows-predicted-h100.json

Each part takes the longer of two times: its bytes at the memory's full speed, its products at that
of the units that make them. Real kernels reach neither, and launches are left out: the numbers are
a scale for these steps as they are written, not a measurement. `least` counts every row of a head
as read once, as if a cache held it; else every list reads its own. The linear branch over all keys,
which recipes with this order leave out, is counted beside them.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from sla_kernels.linear.launch import SPANS
from sla_kernels.order.launch import MOST
from sla_kernels.order.median import TURNS
from sla_kernels.order.plan import halvings
from sla_kernels.search.launch import LARGEST
from sla_kernels.search.walk import PART
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.launch import CHUNK
from sla_kernels.summary.layout import Budget, Layout, budget_of

BYTES_PER_SECOND = 3.35e12
TF32 = 300e12  # products of 19 bits of float32 numbers, by the same share
TENSOR_CORES = 600e12  # products of 16-bit numbers, as much of them as dense attention reaches
PLAIN = 60e12  # of float32 numbers
HALF, FLOAT, LONG, SECTOR = 2, 4, 8, 32  # bytes; a lone number costs a sector of 32
PADDED = 16  # parts of a query block, filled up to what a product takes
SORT_PASSES = 4  # of 8 bits over a 32-bit row number, each reads and writes it and its place


@dataclass(frozen=True, kw_only=True)
class Case:
    """One layer: tokens without pinned ones, heads that are not grouped, 16-bit types."""

    tokens: int
    heads: int
    width: int
    exact: int
    block_q: int
    sizes: tuple[int, ...]
    opened: int
    axes: int

    @property
    def layout(self) -> Layout:
        """Which row is what."""
        return Layout(self.tokens, 0, self.sizes)

    @property
    def budget(self) -> Budget:
        """Cells that a query block opens."""
        return budget_of(self.exact, self.opened, self.layout)

    @property
    def listed(self) -> int:
        """Rows in a list."""
        return self.budget.listed(self.layout, summaries=True)

    @property
    def lists(self) -> int:
        """Query blocks of all heads."""
        return self.heads * num_blocks(self.tokens, self.block_q)

    @property
    def elements(self) -> int:
        """Of one of q, k, v."""
        return self.tokens * self.heads * self.width


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part moves and multiplies."""

    bytes: float
    tensor_core_products: float = 0
    tf32_products: float = 0
    plain_products: float = 0

    @property
    def milliseconds(self) -> float:
        """The roofline."""
        computed = self.tensor_core_products / TENSOR_CORES + self.tf32_products / TF32
        computed += self.plain_products / PLAIN
        return 1e3 * max(self.bytes / BYTES_PER_SECOND, computed)


def order(case: Case) -> Part:
    """Features of all heads' keys, then steps: long segments are sorted, short ones in registers.

    A sort takes 64-bit keys and their places, by 8 bits at a time; each turn reads features anew.
    """
    steps = halvings(case.tokens, case.sizes)
    long = sum(max(end - start for start, end in segments) > MOST for segments in steps)
    features, places = case.tokens * case.axes * FLOAT, case.tokens * FLOAT
    sort = LONG * 2 * case.tokens * 2 * LONG
    moved = long * ((2 + TURNS) * (features + places) + sort + 3 * places) + (len(steps) - long) * (
        features + 2 * places
    )
    products = 2 * case.elements * max(PADDED, case.axes)
    return Part(bytes=case.elements * HALF + features + moved, tensor_core_products=products)


def selection(case: Case, *, least: bool) -> Part:
    """Means and spreads of cells, then for each size its candidates' scores and the best ones.

    Tokens are read where the caller has them: queries for their means, keys and values for those of
    cells, keys once more for the weights of tokens. The largest cells are read twice, by many parts
    together; every block reads its other candidates' keys once.
    """
    layout, budget = case.layout, case.budget
    levels = range(len(case.sizes))
    largest = budget.candidates[levels[-1]]
    candidates = sum(budget.candidates[:-1])
    cells = sum(layout.cells(level) for level in levels) * case.heads
    tables = 2 * cells * (case.width * HALF + FLOAT)  # written and read
    asking = case.lists * num_blocks(case.block_q, PART)
    together = 2 * num_blocks(asking, LARGEST.m) * largest  # rows that programs read
    keys = 0 if least else (case.lists * candidates + together) * case.width * HALF
    parts = 4 * asking * (case.width + 1) * FLOAT
    left = 5 * case.lists * largest * FLOAT
    lists = case.lists * case.listed * FLOAT
    padded = 2 * case.lists * PADDED * candidates * case.width
    return Part(
        bytes=4 * case.elements * HALF + tables + keys + parts + left + lists,
        tensor_core_products=padded + 4 * asking * largest * case.width,
        plain_products=4 * case.elements,
    )


def means(case: Case) -> Part:
    """Keys and values are read once where the caller has them; all rows are written in 16 bits."""
    rows = case.layout.rows * case.heads
    sums = 2 * rows / CHUNK * 2 * case.width * FLOAT  # of chunks, written and read
    moved = 2 * (case.elements + rows * case.width) * HALF + rows * FLOAT
    return Part(bytes=moved + sums, plain_products=8 * case.elements)


def forward(case: Case, *, least: bool) -> Part:
    """Softmax over the listed rows; queries and outputs lie where the caller has them."""
    fixed = 2 * case.elements * HALF + case.lists * case.listed * FLOAT
    products = 4 * case.elements * case.listed
    return Part(bytes=fixed + _read(case, least=least), tensor_core_products=products)


def backward(case: Case, *, least: bool) -> Part:
    """Five products; entries' gradients are written, sorted and added up in float32."""
    entries = case.lists * case.listed
    fixed = 14 * case.elements * HALF + entries * FLOAT
    buffer = 2 * 2 * entries * case.width * FLOAT
    sort = SORT_PASSES * 2 * entries * (FLOAT + LONG)
    rows = 2 * case.layout.rows * case.heads * case.width * FLOAT * 4  # zeros, sums, pulled back
    products = 10 * case.elements * case.listed
    return Part(
        bytes=fixed + buffer + sort + rows + _read(case, least=least),
        tensor_core_products=products,
    )


def linear_states(case: Case) -> Part:
    """The linear branch's sums over all keys: keys and values once, a state for each span."""
    states = 2 * case.heads * SPANS * case.width * (case.width + 1) * FLOAT  # written and read
    return Part(
        bytes=2 * case.elements * HALF + states, tf32_products=2 * case.elements * case.width
    )


def linear_forward(case: Case) -> Part:
    """Queries by their head's state, added to what the other branch wrote."""
    return Part(bytes=3 * case.elements * HALF, tf32_products=2 * case.elements * case.width)


def _read(case: Case, *, least: bool) -> float:
    """Keys, values and biases: of every list, or of every row once."""
    if least:
        return case.layout.rows * case.heads * (2 * case.width * HALF + FLOAT)
    return case.lists * case.listed * (2 * case.width * HALF + SECTOR)


def predicted(case: Case) -> dict[str, object]:
    """The parts of one layer, their sums, and dense attention by the same rule."""
    parts = {
        "order": order(case),
        "selection": selection(case, least=False),
        "selection_least": selection(case, least=True),
        "means": means(case),
        "forward": forward(case, least=False),
        "forward_least": forward(case, least=True),
        "backward": backward(case, least=False),
        "backward_least": backward(case, least=True),
        "linear_states": linear_states(case),
        "linear_forward": linear_forward(case),
    }
    taken = {name: part.milliseconds for name, part in parts.items()}
    before = taken["order"] + taken["selection"] + taken["means"]
    dense = 4e3 * case.elements * case.tokens / TENSOR_CORES
    return {
        "case": asdict(case),
        "listed": case.listed,
        "parts": {
            name: asdict(part) | {"milliseconds": taken[name]} for name, part in parts.items()
        },
        "inference_milliseconds": before + taken["forward"],
        "training_milliseconds": before + taken["forward"] + taken["means"] + taken["backward"],
        "dense_forward_milliseconds": dense,
        "dense_training_milliseconds": 3.5 * dense,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=137_400)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--keep", type=int, default=64, help="key blocks")
    parser.add_argument("--opened", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cases = [
        Case(
            tokens=args.tokens,
            heads=args.heads,
            width=args.width,
            exact=args.keep,
            block_q=64,
            sizes=sizes,
            opened=args.opened,
            axes=16,
        )
        for sizes in ((4, 64, 512), (4, 64, 512, 4096))
    ]
    made = {
        "what": "a prediction by counting bytes and products, not a measurement",
        "device": "H100",
        "bytes_per_second": BYTES_PER_SECOND,
        "products_per_second": {"tensor_cores": TENSOR_CORES, "tf32": TF32, "float32": PLAIN},
        "layers": [predicted(case) for case in cases],
    }
    text = json.dumps(made, indent=1)
    sys.stdout.write(text + "\n")
    if args.out:
        args.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
