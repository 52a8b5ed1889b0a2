"""Predict what listed rows cost on an H100, by counting: bytes and products, nothing is run.

    python benchmarks/predict_rows.py --out rows-predicted-h100.json

Each part takes the longer of two times: its bytes at the memory's full speed, its products at that
of the units that make them. Real kernels reach neither, and launches are left out: the numbers are
a scale for these steps as they are written, not a measurement. `least` counts every row of a head
as read once, as if a cache held it; else every list reads its own.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sla_kernels.order.plan import cuts
from sla_kernels.search.choose import PART
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import Budget, Layout, budget_of

BYTES_PER_SECOND = 3.35e12
TENSOR_CORES = 600e12  # products of 16-bit numbers, as much of them as dense attention reaches
PLAIN = 60e12  # of float32 numbers
HALF, FLOAT, LONG, SECTOR = 2, 4, 8, 32  # bytes; a lone number costs a sector of 32
SORT_PASSES = 4  # of 8 bits over a 32-bit key, each reads and writes key and place


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
    plain_products: float = 0

    @property
    def milliseconds(self) -> float:
        """The roofline."""
        computed = self.tensor_core_products / TENSOR_CORES + self.plain_products / PLAIN
        return 1e3 * max(self.bytes / BYTES_PER_SECOND, computed)


def order(case: Case) -> Part:
    """Features of all heads' keys, then for each cut variances, a stable sort and a gather."""
    steps = len(cuts(case.tokens, case.sizes, torch.device("cpu")))
    features = case.tokens * case.axes * FLOAT
    sort = SORT_PASSES * 2 * case.tokens * (FLOAT + LONG)
    step = 4 * features + sort + 4 * case.tokens * LONG
    products = 2 * case.elements * case.axes
    return Part(bytes=case.elements * HALF + features + steps * step, tensor_core_products=products)


def selection(case: Case, *, least: bool) -> Part:
    """Means and spreads of cells, then for each level the candidates' scores and the best ones.

    Candidates below the coarsest size are scored by one kernel, which reads their keys twice, in
    16 bits, and stores one number for each.
    """
    layout, budget = case.layout, case.budget
    parts = num_blocks(case.block_q, PART)
    levels = range(len(case.sizes))
    candidates = [budget.candidates(layout, level) for level in levels]
    below = sum(candidates[:-1])
    tables = sum(layout.cells(level) for level in levels[:-1]) * case.heads * case.width * HALF
    keys = tables if least else 2 * case.lists * below * case.width * HALF
    coarse = 6 * case.lists * candidates[-1] * parts * FLOAT  # scores of all coarse cells
    masses = 4 * case.lists * below * FLOAT
    ranked = case.lists * sum(candidates) * 8 * LONG  # numbers, places, masks, as int64
    ordered = 3 * case.elements * 2 * HALF  # q, k, v read and written in order
    cells = 2 * sum(case.elements // size for size in case.sizes) * 3 * FLOAT
    means = 6 * case.elements * HALF + cells  # keys and values for sums and lengths, q, tilts
    lists = case.lists * case.listed * (2 * LONG + FLOAT)
    products = 2 * case.lists * sum(candidates) * parts * case.width
    return Part(
        bytes=ordered + means + keys + coarse + masses + ranked + lists,
        tensor_core_products=2 * products,  # candidates are scored twice
        plain_products=2 * case.elements,
    )


def means(case: Case) -> Part:
    """Keys and values of all rows, written in 16 bits, and the weights of the cells."""
    rows = case.layout.rows * case.heads
    weights = 12 * case.tokens * case.heads * FLOAT
    sums = 2 * (rows - case.tokens * case.heads) * case.width * 2 * FLOAT
    moved = 2 * (2 * case.elements + rows * case.width) * HALF
    return Part(bytes=moved + sums + weights, plain_products=4 * case.elements)


def forward(case: Case, *, least: bool) -> Part:
    """Softmax over the listed rows; q, out and their reordering."""
    fixed = 6 * case.elements * HALF + case.lists * case.listed * FLOAT
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
    parser.add_argument("--opened", type=int, default=24)
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
            axes=8,
        )
        for sizes in ((4, 64, 512), (4, 64, 512, 4096))
    ]
    made = {
        "what": "a prediction by counting bytes and products, not a measurement",
        "device": "H100",
        "bytes_per_second": BYTES_PER_SECOND,
        "products_per_second": {"tensor_cores": TENSOR_CORES, "float32": PLAIN},
        "layers": [predicted(case) for case in cases],
    }
    text = json.dumps(made, indent=1)
    sys.stdout.write(text + "\n")
    if args.out:
        args.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
