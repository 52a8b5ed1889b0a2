"""Where the Triton kernels can run."""

from typing import no_type_check

import torch
import triton
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from sla_kernels.runtime.tiles import Tile, architecture_of, tiles_of

LIMIT = 1 << 31  # of a grid's first axis, and of 32-bit offsets
MOST_TOKENS = 256  # in a tile


@no_type_check
def _nothing() -> None:
    """A kernel that is never launched: it shows what Triton makes of one."""


INTERPRETED = isinstance(triton.jit(_nothing), InterpretedFunction)


def check_device(q: Tensor) -> None:
    """Refuse tensors that the kernels cannot reach or cannot compute truly."""
    if q.device.type != "cpu":
        architecture_of(q.device)
        return
    if not INTERPRETED:
        raise ValueError(
            f"backend='triton' with q on {q.device}; the kernels run on a GPU: pass "
            "backend='eager', move the tensors to a GPU, or set TRITON_INTERPRET=1 before Triton "
            "is imported"
        )
    if q.dtype == torch.bfloat16:
        raise ValueError(
            "backend='triton' with q of torch.bfloat16 on the CPU; Triton's interpreter multiplies "
            "bfloat16 wrongly: use float32 or float16 there, or backend='eager'"
        )


def grid(tiles: int, x: Tensor, parts: int = 1) -> tuple[int, int]:
    """Programs for the tiles of every head of x (b, h, n, d), and for parts of each tile.

    Raises ValueError where a GPU cannot count them.
    """
    programs = tiles * x.shape[0] * x.shape[1]
    if programs >= LIMIT:
        raise ValueError(
            f"{tuple(x.shape)} needs {programs} programs; a GPU counts fewer than {LIMIT}: "
            "pass the batch in parts"
        )
    return programs, parts


def within_reach(x: Tensor) -> Tensor:
    """Return x (b, h, n, d), or a copy where its tokens lie too far apart.

    Inside a tile offsets are 32 bit; between tiles, heads and batch entries 64.
    """
    span = (MOST_TOKENS - 1) * x.stride(2) + (x.shape[3] - 1) * x.stride(3)
    return x if span < LIMIT else x.contiguous()


def next_power(width: int) -> int:
    """The smallest power of two that is at least `width`."""
    power: int = triton.next_power_of_2(width)
    return power


def describe(q: Tensor, block: tuple[int, int]) -> str:
    """The tiles of the three sparse kernels, in words."""
    tiles = tiles_of(architecture_of(q.device), q.dtype, q.shape[3])
    named = {"forward": tiles.forward, "dq": tiles.backward_q, "dk and dv": tiles.backward_kv}
    return _in_words(q, {name: tile.within(block) for name, tile in named.items()})


def describe_rows(q: Tensor, block_q: int) -> str:
    """The tiles of the kernels of listed rows, in words: queries by rows."""
    tiles = tiles_of(architecture_of(q.device), q.dtype, q.shape[3])
    named = {"forward": tiles.rows_forward, "backward": tiles.rows_backward}
    return _in_words(q, {name: tile.of_queries(block_q) for name, tile in named.items()})


def _in_words(q: Tensor, tiles: dict[str, Tile]) -> str:
    architecture = architecture_of(q.device)
    parts = (
        f"{name} {t.m} by {t.n}, {t.warps} warps, {t.stages} stages" for name, t in tiles.items()
    )
    where = f"{architecture}, interpreted" if INTERPRETED else architecture
    return "; ".join(parts) + f" ({where})"
