"""Launch the kernels of an order; nothing waits for the host."""

import functools
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.order.captured import held_for_graphs
from sla_kernels.order.median import STEEP, TINY, TURNS
from sla_kernels.order.plan import Segment, halvings
from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, grid, next_power, strided
from sla_kernels.runtime.tiles import Tile, architecture_of, precision
from sla_kernels.select.blocks import num_blocks

MOST = 4096  # tokens that one program sorts
PIECE = Tile(m=512, n=64, warps=4, stages=1)  # tokens, and sums that are added in a turn
FEATURES = Tile(m=128, n=16, warps=4, stages=3)  # tokens, and the least axes that a product takes
OF_PIECE = 7  # numbers that say what a piece is
BEGIN = (MOST, 2048, 512, 32)  # with so many each: fewer steps keep what they need in registers
AXES = 64  # more are left to PyTorch's operations


class Halved(NamedTuple):
    """Segments that are halved by one program each: where their parts begin and end."""

    bounds: Int32[Tensor, "segments numbers"]
    width: int
    steps: int


def fits(features: Tensor, sizes: tuple[int, ...]) -> bool:
    """Whether the kernels take these tokens and sizes, which must be powers of two."""
    counted = features.shape[0] * features.shape[1] < LIMIT
    powers = all(size == next_power(size) for size in sizes) and sizes[-1] <= MOST
    return features.dtype == torch.float32 and features.shape[2] <= AXES and counted and powers


def warps(width: int) -> int:
    """Of a program that sorts so many tokens: by compiling, the most that spill no register."""
    return min(16, max(1, width // 64))


def piece_warps(axes: int) -> int:
    """Of a program that sums features over a piece: more where more axes fill registers."""
    return max(PIECE.warps, next_power(axes) // 4)


def reads(k: Tensor, directions: Tensor) -> bool:
    """Whether the kernel of features takes these keys and axes."""
    return k.dtype.itemsize <= 4 and k.shape[3] <= 256 and directions.shape[1] <= AXES


def halved_order(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """The order of `median_order`, in few launches."""
    scenes, tokens, axes = features.shape
    rows = features.contiguous()
    order = torch.arange(scenes * tokens, dtype=torch.int32, device=features.device)
    plan = _plan(scenes, tokens, sizes, features.device)
    pieces_of, halved = held_for_graphs(plan, features.device)
    for pieces in pieces_of:
        order = _sorted(rows, order, pieces)
    for bounds, width, steps in halved:
        launched("order.kernels:halve_kernel")[(len(bounds),)](
            rows,
            order,
            bounds,
            axes,
            WIDTH=width,
            STEPS=steps,
            TURNS=TURNS,
            STEEP=STEEP,
            TINY=TINY,
            num_warps=warps(width),
        )
    first = torch.arange(scenes, device=features.device)[:, None] * tokens
    return order.view(scenes, tokens) - first


def features_of(
    k: Float[Tensor, "b g n d"], directions: Float[Tensor, "c a"]
) -> Float[Tensor, "b n a"]:
    """Keys of all heads side by side along each axis; k is read where it lies."""
    k = strided(k)
    scenes, heads, tokens, width = k.shape
    axes, tile = directions.shape[1], featuring(k.dtype, width)
    found = torch.empty((scenes, tokens, axes), dtype=torch.float32, device=k.device)
    launched("order.kernels:features_kernel")[grid(num_blocks(tokens, tile.m), k[:, :1])](
        k,
        directions.contiguous(),
        found,
        tokens,
        heads,
        axes,
        *k.stride()[:3],
        D=width,
        BLOCK_D=max(16, next_power(width)),
        AXES=max(tile.n, next_power(axes)),
        TILE=tile.m,
        PRECISION=precision(architecture_of(k.device), k.dtype),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return found


def featuring(dtype: torch.dtype, width: int) -> Tile:
    """The tile of the kernel of features: wide tokens fill shared memory, and products of float32,
    in three parts, registers."""
    if dtype != torch.float32:
        return FEATURES if width <= 64 else replace(FEATURES, m=64)
    return replace(FEATURES, m=64 if width <= 64 else 32, warps=8, stages=2)


def _sorted(
    rows: Float[Tensor, "b n a"], order: Int32[Tensor, " rows"], pieces: Int32[Tensor, "pieces 7"]
) -> Int32[Tensor, " rows"]:
    """Sort each segment along its own direction."""
    axes = rows.shape[2]
    common: dict[str, float] = {"AXES": next_power(axes), "TILE": PIECE.m, "OF_PIECE": OF_PIECE}
    common |= {"num_warps": piece_warps(axes), "num_stages": PIECE.stages}
    found = torch.empty(
        (1 + TURNS, len(pieces), 2, next_power(axes)), dtype=torch.float32, device=rows.device
    )
    sums, turned = found[0], found[1:]
    keys = torch.empty(order.shape, dtype=torch.int64, device=rows.device)
    launched("order.kernels:spread_kernel")[(len(pieces),)](
        rows, order, pieces, sums, axes, **common
    )
    common |= {"STEP": PIECE.n, "TINY": TINY}
    for turn in range(TURNS):
        launched("order.kernels:turn_kernel")[(len(pieces),)](
            rows, order, pieces, sums, turned, axes, TURN=turn, STEEP=STEEP, **common
        )
    launched("order.kernels:keys_kernel")[(len(pieces),)](
        rows, order, pieces, sums, turned, keys, axes, TURNS=TURNS, **common
    )
    return order.index_select(0, keys.argsort(stable=True))


@functools.lru_cache(maxsize=128)
def _plan(
    scenes: int, tokens: int, sizes: tuple[int, ...], device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Halved, ...]]:
    """The pieces of each step that is too long for programs, and what programs halve then."""
    firsts = [scene * tokens for scene in range(scenes)]
    runs = [(most, list(steps)) for most, steps in groupby(halvings(tokens, sizes), _most)]
    pieces = [_pieces(segments, firsts) for most, steps in runs for segments in steps if not most]
    halved = [_halved(steps, firsts) for most, steps in runs if most]
    return (
        tuple(p.to(device) for p in pieces),
        tuple(h._replace(bounds=h.bounds.to(device)) for h in halved),
    )


def _most(segments: list[Segment]) -> int:
    """How many tokens the programs of a step may begin with, 0 for too many."""
    longest = max(end - start for start, end in segments)
    return min((most for most in BEGIN if longest <= most), default=0)


def _pieces(segments: list[Segment], firsts: list[int]) -> Int32[Tensor, "pieces 7"]:
    """Of each piece its ends, its segment's ends, which pieces that has, and its number."""
    found: list[tuple[int, ...]] = []
    everywhere = [(a + first, z + first) for first in firsts for a, z in segments]
    for number, (start, end) in enumerate(everywhere):
        begun = len(found)
        last = begun + num_blocks(end - start, PIECE.m)
        found += [
            (at, min(at + PIECE.m, end), start, end, begun, last, number)
            for at in range(start, end, PIECE.m)
        ]
    return torch.tensor(found, dtype=torch.int32, device="cpu")


def _halved(steps: list[list[Segment]], firsts: list[int]) -> Halved:
    """One row for each segment: the ends of itself, of its two parts, of their four, and so on."""
    rows = torch.zeros((len(steps[0]), 2 ** len(steps) - 1, 2), dtype=torch.int32, device="cpu")
    starts = torch.tensor(steps[0], device="cpu")[:, 0].contiguous()
    for i, segments in enumerate(steps):
        parts = torch.tensor(segments, dtype=torch.int32, device="cpu")
        of = torch.searchsorted(starts, parts[:, 0].long(), right=True) - 1
        nth = torch.arange(len(parts), device="cpu") - torch.searchsorted(of, of)
        rows[of, 2**i - 1 + nth] = parts
    width = next_power(max(end - start for start, end in steps[0]))
    everywhere = torch.cat([rows + first * (rows[..., 1:] > 0) for first in firsts])
    bounds = rearrange(everywhere, "segment part end -> segment (part end)")
    return Halved(bounds.int().contiguous(), width, len(steps))
