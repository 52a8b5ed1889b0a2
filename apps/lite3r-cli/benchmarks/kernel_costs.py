"""What the kernels of listed rows move and multiply, from their tensors and lengths.

What is read again is told by the table that it comes from, of one key head: heads come in turn.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from lite3r.student.recipes import Recipe
from recon_eval.efficiency.counting import Again, Formula
from sla_kernels.order.median import TURNS
from sla_kernels.search.launch import ASKED, LARGEST, PARTS
from sla_kernels.summary.layout import Layout, budget_of

Cost = tuple[int, tuple[Again, ...], int]
PROCESSORS = 132  # of an H100, which a program each of few leaves idle
EXCHANGE = 9  # instructions a token in a stage of a sort, in the kernel compiled for sm_90
SPREAD = 8  # instructions for a feature of a token in a pass


def kernels(recipe: Recipe | None) -> dict[str, Formula]:
    """By name, what each kernel costs; `recipe` says of which sizes lists are made."""
    found: dict[str, Callable[..., Cost]] = {
        "largest_cells_kernel": largest_cells,
        "open_cells_kernel": open_cells,
        "asked_kernel": asked,
        "larger_rows_kernel": larger_rows,
        "halve_kernel": halve,
    }
    if recipe is not None:
        found["summary_attention_forward_kernel"] = partial(attention, recipe=recipe)
    return found


def attention(tensors: Sequence[Tensor], lengths: Sequence[int], *, recipe: Recipe) -> Cost:
    """Two products of queries and listed rows; every list reads its own rows."""
    q, keys, values, bias, lists, _, out, lse = tensors
    row = (keys.shape[3] + values.shape[3]) * keys.element_size() + bias.element_size()
    once = bytes_of(keys, values, bias, lists, q, out, lse)
    blocks, of_block = lists.shape[:3].numel(), lists.shape[3]
    again = []
    for listed, table in listed_of(recipe, lse.shape[2], keys.shape[2], of_block):
        moved = (blocks * listed - keys.shape[:2].numel() * table) * row
        again.append(Again(bytes=max(0, moved), table=table * row))
    return once, tuple(again), 4 * lse.numel() * of_block * q.shape[3]


def listed_of(recipe: Recipe, tokens: int, rows: int, listed: int) -> list[tuple[int, int]]:
    """How many rows of a list are tokens, cells of each size and pinned, and how many there are.

    Where the search began below the largest sizes, lists hold none of them. All of one kind where
    every key is attended.
    """
    for count in range(len(recipe.summary), 0, -1):
        sizes = tuple(recipe.summary[:count])
        pinned = rows - Layout(tokens, 0, sizes).rows
        layout = Layout(tokens, max(0, pinned), sizes)
        budget = budget_of(int(recipe.keep), recipe.opened, layout)
        if pinned >= 0 and budget.listed(layout, summaries=True) == listed:
            exact = (budget.chosen[0] * sizes[0], tokens)
            cells = [
                (budget.candidates[i] - budget.chosen[i], layout.cells(i)) for i in range(count)
            ]
            return [exact, *cells, (pinned, pinned)]
    return [(listed, rows)]


def largest_cells(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Cost:
    """Programs read the largest cells twice for all parts that they hold, and write masses."""
    parts, pinned, means, left = tensors
    once = bytes_of(parts, pinned, means, left)
    table = bytes_of(means) // means.shape[0]
    programs = -(-parts.shape[:2].numel() // LARGEST.m)
    again = Again(bytes=max(0, 2 * programs * table - bytes_of(means)), table=table)
    return once, (again,), 4 * parts.shape[:2].numel() * means.shape[1] * means.shape[2]


def open_cells(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Cost:
    """Every block reads its candidates; of lists, what this size of cells adds is written."""
    parts, pinned, means, spreads, before, opened, moved, rows, left = tensors
    candidates, chosen = lengths[6], lengths[9]
    blocks, top, last = left.shape[:3].numel(), before is rows, moved is not rows
    exact = chosen * (lengths[4] // means.shape[1] + 1) if last else 0  # their tokens
    once = bytes_of(spreads, opened) + 4 * blocks * (candidates - chosen + exact)
    once += bytes_of(moved) + 2 * bytes_of(left) if last else 0
    if top:
        return once + bytes_of(left), (), 0
    table = bytes_of(means) // means.shape[0]
    taken = blocks * candidates * means.shape[2] * means.element_size()
    again = Again(bytes=max(0, taken - bytes_of(means)), table=table)
    once += bytes_of(parts, pinned, means, before)
    return once, (again,), 2 * blocks * PARTS * candidates * means.shape[2]


def asked(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Cost:
    """Queries are read once, and of keys those that are pinned."""
    q, k, order, outside, parts, pinned = tensors
    keys = outside.numel() * k.shape[1] * k.shape[3]
    programs = -(-parts.shape[1] // ASKED.m) * parts.shape[0]
    table = outside.numel() * k.shape[3] * k.element_size()
    again = Again(bytes=max(0, programs * table - keys * k.element_size()), table=table)
    moved = bytes_of(q, order, parts, pinned) + keys * k.element_size()
    return moved, (again,), 2 * parts.numel() * outside.numel()


def larger_rows(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Cost:
    """Sums of chunks are read, rows of cells written."""
    sums, keys, _, _ = tensors
    heads, cells = keys.shape[:2].numel(), lengths[0]
    return bytes_of(sums) + heads * cells * 2 * keys.shape[3] * keys.element_size(), (), 0


def halve(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Cost:
    """Every step reads features and places and writes places, and sorts in registers.

    They read their features once more for each turn of their direction, from a cache.
    """
    features, order, bounds = tensors
    steps = (bounds.shape[1] // 2 + 1).bit_length() - 1
    width = -(-order.numel() // len(bounds))
    stages = sum(n * (n + 1) // 2 for n in range(width.bit_length(), 0, -1)[:steps])
    idle = max(1, PROCESSORS // len(bounds))
    once = bytes_of(features) + 2 * bytes_of(order)
    again = Again(bytes=(steps - 1) * once, table=once // len(bounds))
    tokens = 2 * order.numel() * idle
    work = EXCHANGE * stages + steps * (1 + TURNS) * SPREAD * features.shape[2]
    return once + bytes_of(bounds), (again,), tokens * work


def bytes_of(*tensors: Tensor) -> int:
    """How many they take."""
    return sum(x.numel() * x.element_size() for x in tensors)
