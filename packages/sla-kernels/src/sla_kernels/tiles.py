"""Tile sizes, warps and stages of the Triton kernels: a table, so that no call is ever timed.

The entries for float16 and bfloat16 compile without spilled registers for sm_80, 86, 90, 100, 120
and gfx942; `benchmarks/compiled_code.py` shows it, a test repeats it for the commonest width.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Queries and keys a program holds at a time, and what Triton is told of it."""

    m: int
    n: int
    warps: int
    stages: int


AMD = "amd"
NVIDIA = "nvidia"


def vendor() -> str:
    """Whose GPUs this PyTorch was built for."""
    return NVIDIA if torch.version.hip is None else AMD


def precision(dtype: torch.dtype, maker: str) -> str:
    """How float32 operands are multiplied: TF32 in three parts keeps float32's accuracy."""
    if dtype != torch.float32:
        return "tf32"
    return "tf32x3" if maker == NVIDIA else "ieee"


def forward_tile(dtype: torch.dtype, width: int, block: tuple[int, int], maker: str) -> Tile:
    """The tile of the forward kernel for a head width and block sizes."""
    if dtype == torch.float32:
        return _fit(Tile(m=32 if width > 64 else 64, n=32, warps=4, stages=1), block, maker)
    if width > 64:
        return _fit(Tile(m=128, n=32, warps=8, stages=2), block, maker)
    return _fit(Tile(m=128, n=64, warps=8, stages=3), block, maker)


def backward_q_tile(dtype: torch.dtype, width: int, block: tuple[int, int], maker: str) -> Tile:
    """The tile of the kernel that writes dq."""
    if dtype == torch.float32:
        return _fit(Tile(m=32, n=32, warps=4, stages=1), block, maker)
    if width > 64:
        return _fit(Tile(m=64, n=32, warps=8, stages=2), block, maker)
    return _fit(Tile(m=128, n=64, warps=8, stages=2), block, maker)


def backward_kv_tile(dtype: torch.dtype, width: int, block: tuple[int, int], maker: str) -> Tile:
    """The tile of the kernel that writes dk and dv."""
    if dtype == torch.float32:
        return _fit(Tile(m=32, n=32, warps=4, stages=1), block, maker)
    if width > 64:
        return _fit(Tile(m=32, n=64, warps=8, stages=2), block, maker)
    return _fit(Tile(m=64, n=64, warps=8, stages=2), block, maker)


def _fit(tile: Tile, block: tuple[int, int], maker: str) -> Tile:
    """Shrink a tile to the blocks: a tile never spans two."""
    m, n = min(tile.m, block[0]), min(tile.n, block[1])
    warps = tile.warps if m * n >= 2048 and maker == NVIDIA else min(tile.warps, 4)
    return Tile(m=m, n=n, warps=warps, stages=tile.stages)


def linear_tile(dtype: torch.dtype, width: int, block: int, maker: str) -> Tile:
    """The tile of the kernels that apply states to tokens; `n` is not used."""
    rows = 16 if width > 64 else 32 if dtype == torch.float32 else 64
    return Tile(m=min(rows, block), n=0, warps=8 if maker == NVIDIA else 4, stages=1)


def state_tile(dtype: torch.dtype, block: int, maker: str) -> Tile:
    """The tile of the kernel that sums states; `n` is not used."""
    rows = 32 if dtype == torch.float32 else 64
    return Tile(m=min(rows, block), n=0, warps=8 if maker == NVIDIA else 4, stages=1)
