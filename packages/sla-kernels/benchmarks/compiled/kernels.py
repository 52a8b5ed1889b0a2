"""The kernels with their tiles, and what is compiled into them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from sla_kernels.linear import kernels as linear
from sla_kernels.order import kernels as order
from sla_kernels.order.launch import BEGIN, OF_PIECE, PIECE, featuring, warps
from sla_kernels.order.median import STEEP, TINY, TURNS
from sla_kernels.runtime.grid import next_power
from sla_kernels.runtime.tiles import Tile, Tiles, precision, tiles_of
from sla_kernels.search import kernels as search
from sla_kernels.search import kernels_asked as asked
from sla_kernels.search import kernels_cells as cells
from sla_kernels.search.launch import (
    ASKED,
    LARGEST,
    MOST,
    PARTS,
    SCORED,
    row_bytes,
    scored,
    scoring,
    walking,
)
from sla_kernels.search.launch_cells import WANTED, means_warps
from sla_kernels.search.walk import PART
from sla_kernels.sparse import kernels as sparse
from sla_kernels.sparse import kernels_backward as sparse_backward
from sla_kernels.sparse.launch import columns_at_once
from sla_kernels.summary import kernels as rows
from sla_kernels.summary import kernels_rows as laid
from sla_kernels.summary.launch import CHUNK, STEP, chunk_warps
from sla_kernels.summary.weights import LEAST_MASS

SPARSE = {
    "sparse_fwd": (sparse.sparse_attention_forward_kernel, "forward"),
    "sparse_bwd_q": (sparse_backward.sparse_attention_backward_q_kernel, "backward_q"),
    "sparse_bwd_kv": (sparse_backward.sparse_attention_backward_kv_kernel, "backward_kv"),
}
LINEAR = {
    "linear_state": (linear.linear_attention_state_kernel, "state"),
    "linear_bwd_state": (linear.linear_attention_state_kernel, "state"),
    "linear_fwd": (linear.linear_attention_forward_kernel, "linear"),
    "linear_bwd_q": (linear.linear_attention_backward_q_kernel, "linear"),
    "linear_bwd_kv": (linear.linear_attention_backward_kv_kernel, "linear"),
}
ROWS = {
    "rows_fwd": (rows.summary_attention_forward_kernel, "rows_forward"),
    "rows_bwd": (rows.summary_attention_backward_kernel, "rows_backward"),
    "rows_sum": (rows.summary_attention_sum_kernel, None),
    "rows_laid": (laid.rows_kernel, None),
    "rows_larger": (laid.larger_rows_kernel, None),
    "cells_asked": (asked.asked_kernel, None),
    "cells_largest": (asked.largest_cells_kernel, None),
    "cells_top": (search.open_cells_kernel, None),
    "cells_last": (search.open_cells_kernel, None),
    "cells_many": (search.open_cells_kernel, None),
    "cells_wide": (search.open_cells_kernel, None),
    "cells_alone": (search.open_cells_kernel, None),
    "cells_means": (cells.cell_means_kernel, None),
    "cells_larger": (cells.larger_means_kernel, None),
    "cells_wanted": (cells.wanted_kernel, None),
    "cells_tilt": (cells.tilt_kernel, None),
}
HALVES = ("order_longest", "order_long", "order_short", "order_few")
ORDER = {
    "order_features": order.features_kernel,
    "order_spread": order.spread_kernel,
    "order_turn": order.turn_kernel,
    "order_keys": order.keys_kernel,
    **dict.fromkeys(HALVES, order.halve_kernel),
}
HALVED = dict(  # tokens that a program begins with, and how often it halves them
    zip(HALVES, zip(BEGIN, (1, 2, 4, 3), strict=True), strict=True)
)
NAMES = (*SPARSE, *LINEAR, *ROWS, *ORDER)
ROWS_BLOCK_Q = 64  # the default block of `select_rows`
WIDE = PART * PARTS  # the longest block whose rows kernels choose
SIZE = 4  # its key block
AXES = 16  # that an order looks at
ADDS = Tile(m=CHUNK, n=CHUNK, warps=4, stages=3)  # what Triton takes where nothing is said
FIXED = {
    "rows_sum": Tile(m=1, n=STEP, warps=1, stages=1),
    "rows_larger": Tile(m=1, n=STEP, warps=1, stages=3),
    "cells_larger": Tile(m=1, n=STEP, warps=1, stages=3),
    "cells_tilt": ADDS,
    "cells_asked": ASKED,
    "cells_wanted": WANTED,
}
MULTIPLY_NOTHING = set(FIXED) - {"cells_asked", "cells_wanted"}
MULTIPLY_NOTHING |= {"cells_top", "cells_alone", "cells_means", "rows_laid"}
MULTIPLY_NOTHING |= set(ORDER) - {"order_features"}
FANOUT = 16  # cells that a larger one holds
CANDIDATES = {"cells_top": MOST, "cells_last": 512, "cells_many": SCORED}  # 512 as by default
CANDIDATES |= {"cells_wide": scored(WIDE), "cells_alone": MOST}
BLOCKS_Q = {"cells_wide": WIDE}
SIZES = {"cells_alone": 64}  # long key blocks, and no larger cells
TOP = ("cells_top", "cells_alone")

Variant = tuple[str, Any, Tile, dict[str, Any]]
"""A kernel's name, the kernel, its tile and what is compiled into it."""


def variants(
    target: str, dtype: torch.dtype, width: int, block: tuple[int, int]
) -> Iterator[Variant]:
    """Every kernel as it is launched for heads of this width."""
    tiles = tiles_of(target, dtype, width)
    common = {"D": width, "BLOCK_D": next_power(width), "PRECISION": precision(target, dtype)}
    for name, kernel, tile, sizes in (
        *_of_blocks(tiles, block, columns_at_once(target, dtype, width)),
        *_of_rows(tiles, target, dtype, width),
        *_of_order(dtype, width),
        *_of_linear(tiles, width),
    ):
        yield name, kernel, tile, common | sizes


def _of_blocks(tiles: Tiles, block: tuple[int, int], columns: int) -> Iterator[Variant]:
    for name, (kernel, entry) in SPARSE.items():
        tile = getattr(tiles, entry).within(block)
        sizes = {"BLOCK_Q": block[0], "BLOCK_K": block[1], "TILE_M": tile.m, "TILE_N": tile.n}
        yield name, kernel, tile, sizes | {"PART": columns}


def _of_rows(tiles: Tiles, target: str, dtype: torch.dtype, width: int) -> Iterator[Variant]:
    for name, (kernel, entry) in ROWS.items():
        tile = _tile_of_rows(name, entry, tiles, dtype, width)
        sizes = {"BLOCK_Q": ROWS_BLOCK_Q, "TILE_M": tile.m, "TILE_N": tile.n, "STEP": STEP}
        sizes |= {"PARTS": tile.m, "TILE": tile.n, "PART": PART}
        if name == "cells_wanted":
            sizes |= {"TILE": tile.m, "BLOCKS": tile.n, "LEAST": LEAST_MASS}
            sizes |= {"PRECISION": precision(target, torch.float32)}
        block_q = BLOCKS_Q.get(name, ROWS_BLOCK_Q)
        sizes |= {"OF_BLOCK": block_q // PART, "HELD": 8}
        if name in CANDIDATES:
            sizes |= _walking(name, dtype, width) | {"STEP": LARGEST.n}
        sizes |= {"SIZE": SIZES.get(name, SIZE), "CHUNK": CHUNK}
        sizes |= {"TOP": name in TOP, "LAST": name in CANDIDATES and name != "cells_top"}
        yield name, kernel, tile, sizes | {"SUMMARIES": True, "ORDERED": True}


def _tile_of_rows(
    name: str, entry: str | None, tiles: Tiles, dtype: torch.dtype, width: int
) -> Tile:
    if entry is not None:
        return getattr(tiles, entry).of_queries(ROWS_BLOCK_Q)
    if name == "rows_laid":
        return replace(ADDS, warps=chunk_warps(width))
    if name == "cells_means":
        return replace(ADDS, warps=means_warps(width))
    if name == "cells_largest":
        return scoring(dtype, width)
    if name not in CANDIDATES:
        return FIXED[name]
    found = _walking(name, dtype, width)
    return Tile(m=PARTS, n=found["TILE"], warps=found["num_warps"], stages=found["num_stages"])


def _walking(name: str, dtype: torch.dtype, width: int) -> dict[str, int]:
    fanout = 1 if name in TOP else FANOUT
    block_q, row = BLOCKS_Q.get(name, ROWS_BLOCK_Q), row_bytes(dtype, width)
    return walking(CANDIDATES[name] // fanout, fanout, block_q, row, top=name in TOP)


def _of_order(dtype: torch.dtype, width: int) -> Iterator[Variant]:
    for name, kernel in ORDER.items():
        most, steps = HALVED.get(name, (1, 1))
        tile = featuring(dtype, width) if name == "order_features" else PIECE
        if name in HALVED:
            tile = Tile(m=most, n=1, warps=warps(most), stages=ADDS.stages)
        sizes = {"AXES": AXES, "TILE": tile.m, "STEP": tile.n, "OF_PIECE": OF_PIECE}
        halved = {"WIDTH": most, "STEPS": steps, "TURN": 1, "TURNS": TURNS}
        yield name, kernel, tile, sizes | halved | {"STEEP": STEEP, "TINY": TINY}


def _of_linear(tiles: Tiles, width: int) -> Iterator[Variant]:
    flags = {"ADD": True, "SCOPED": False, "HAS_BIAS": True, "HAS_BASE": True}
    fixed = {"FEATURE": "softmax", "BLOCK_Q": 0, "BLOCK_K": 0, **flags}
    for name, (kernel, entry) in LINEAR.items():
        tile = getattr(tiles, entry).within((64, next_power(width)))
        sizes = {"TILE": tile.m, "PART": tile.n, "SCALED": name == "linear_bwd_state"}
        yield name, kernel, tile, fixed | sizes
