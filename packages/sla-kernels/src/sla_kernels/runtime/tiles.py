"""Tile sizes, warps and stages of the Triton kernels: a table, so that no call is ever timed.

One entry for each architecture, type and head width. The entries were chosen by compiling them:
they fit the shared memory and spill no registers. In 16-bit types a processor's registers mostly
hold one program of 8 warps (two of the forward kernel at head width 64 on sm_90), which leaves
shared memory for a third stage: tiles of the turn after next are under way while one is computed.
`benchmarks/compiled_code.py` compiles all of them and writes the evidence;
a test repeats a part of it. What is fastest on a GPU is not measured.
"""

import functools
from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What a program holds at a time, and what Triton is told of it.

    `m` counts queries and `n` keys; in the linear kernels `m` counts tokens and `n` columns of a
    state.
    """

    m: int
    n: int
    warps: int
    stages: int

    def within(self, block: tuple[int, int]) -> "Tile":
        """Shrink to the blocks: a tile never spans two."""
        m, n = min(self.m, block[0]), min(self.n, block[1])
        if (m, n) == (self.m, self.n):
            return self
        return replace(self, m=m, n=n, warps=self.warps if m * n >= 2048 else min(self.warps, 4))

    def of_queries(self, block_q: int) -> "Tile":
        """Shrink to a block of queries; the rows that it lists are not in blocks."""
        return self.within((block_q, self.n))


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """The tiles of every kernel."""

    forward: Tile
    backward_q: Tile
    backward_kv: Tile
    linear: Tile
    state: Tile
    rows_forward: Tile
    rows_backward: Tile


def _tiles(*tiles: tuple[int, int, int, int]) -> Tiles:
    made = (Tile(m=m, n=n, warps=warps, stages=stages) for m, n, warps, stages in tiles)
    return Tiles(**dict(zip((field.name for field in fields(Tiles)), made, strict=True)))


# Each entry: forward, dq, dk and dv, linear, states; listed rows forward and backward.
# Each tile: m, n, warps, stages.
_NVIDIA = {  # at most 82 KiB of shared memory
    64: _tiles(
        (128, 64, 8, 3), (128, 64, 8, 3), (64, 64, 8, 3), (64, 64, 8, 1), (64, 64, 8, 1),
        (64, 64, 4, 3), (64, 32, 8, 3),
    ),
    128: _tiles(
        (128, 32, 8, 3), (64, 32, 8, 3), (32, 64, 8, 3), (16, 64, 8, 1), (64, 64, 8, 1),
        (64, 32, 4, 3), (64, 16, 8, 3),
    ),
}  # fmt: skip
_NVIDIA[32] = replace(  # dq of 128 queries spills two registers
    _NVIDIA[64], backward_q=Tile(m=64, n=64, warps=8, stages=3)
)
_HOPPER = {  # 228 KiB; tiles of 64 rows are products of a whole warp group
    32: replace(_NVIDIA[32], rows_backward=Tile(m=64, n=64, warps=8, stages=3)),
    64: replace(_NVIDIA[64], rows_backward=Tile(m=64, n=64, warps=8, stages=3)),
    128: replace(_NVIDIA[128], rows_backward=Tile(m=64, n=32, warps=8, stages=3)),
}
_BLACKWELL = {  # backward kernels spill at 64 rows in 8 warps, and at 64 columns
    32: _HOPPER[32],
    64: replace(_HOPPER[64], rows_backward=Tile(m=64, n=64, warps=4, stages=3)),
    128: replace(_HOPPER[128], linear=Tile(m=16, n=32, warps=8, stages=1)),
}
_FLOAT32 = {  # in three TF32 parts, which fill the registers
    64: _tiles(
        (32, 32, 4, 1), (16, 32, 4, 1), (16, 32, 4, 1), (32, 64, 8, 1), (32, 64, 8, 1),
        (16, 32, 4, 1), (16, 16, 4, 1),
    ),
    128: _tiles(
        (16, 32, 8, 1), (32, 32, 8, 1), (16, 16, 8, 1), (16, 32, 8, 1), (32, 64, 8, 1),
        (16, 32, 8, 1), (16, 16, 8, 1),
    ),
}  # fmt: skip
_HOPPER_FLOAT32 = {  # 32 queries spill
    64: replace(_FLOAT32[64], forward=Tile(m=16, n=32, warps=4, stages=1)),
    128: _FLOAT32[128],
}
_BLACKWELL_FLOAT32 = {  # so they do, and 32 keys
    64: replace(_HOPPER_FLOAT32[64], backward_kv=Tile(m=16, n=16, warps=8, stages=1)),
    128: _FLOAT32[128],
}
_BLACKWELL_FLOAT32[32] = replace(  # so do 32 rows
    _BLACKWELL_FLOAT32[64], rows_forward=Tile(m=16, n=16, warps=4, stages=1)
)
_CDNA = {  # 64 KiB; wavefronts of 64
    64: _tiles(
        (128, 64, 4, 3), (128, 64, 4, 2), (64, 64, 4, 1), (64, 64, 4, 1), (64, 64, 4, 1),
        (64, 64, 4, 2), (64, 32, 4, 1),
    ),
    128: _tiles(
        (128, 32, 4, 2), (64, 32, 4, 2), (32, 64, 4, 2), (16, 64, 4, 1), (64, 64, 4, 1),
        (64, 32, 4, 2), (32, 32, 4, 1),
    ),
}  # fmt: skip
_CDNA[32] = replace(_CDNA[64], backward_kv=Tile(m=32, n=64, warps=4, stages=1))  # 64 spill
_CDNA_FLOAT32 = {
    64: _tiles(
        (64, 32, 4, 1), (32, 32, 4, 1), (32, 32, 4, 1), (32, 64, 4, 1), (32, 64, 4, 1),
        (32, 32, 4, 1), (32, 32, 4, 1),
    ),
    128: _tiles(
        (32, 32, 4, 1), (32, 32, 4, 1), (32, 32, 4, 1), (16, 64, 4, 1), (32, 64, 4, 1),
        (32, 32, 4, 1), (16, 32, 4, 1),
    ),
}  # fmt: skip
TABLE = {  # for 16-bit types, for float32
    "sm_80": (_NVIDIA, _FLOAT32),
    "sm_86": (_NVIDIA, _FLOAT32),
    "sm_90": (_HOPPER, _HOPPER_FLOAT32),
    "sm_100": (_BLACKWELL, _BLACKWELL_FLOAT32),
    "sm_120": (_NVIDIA, _BLACKWELL_FLOAT32),
    "gfx942": (_CDNA, _CDNA_FLOAT32),
}
INTERPRETED = "sm_80"  # whose tiles the interpreter walks


def tiles_of(architecture: str, dtype: torch.dtype, width: int) -> Tiles:
    """The tiles for 16-bit or float32 inputs and a head width."""
    entries = TABLE[architecture][dtype == torch.float32]
    return entries[min(known for known in entries if known >= width)]


def precision(architecture: str, dtype: torch.dtype) -> str:
    """How float32 operands are multiplied: TF32 in three parts keeps float32's accuracy."""
    if dtype != torch.float32:
        return "tf32"
    return "tf32x3" if architecture.startswith("sm_") else "ieee"


@functools.cache
def architecture_of(device: torch.device) -> str:
    """The entry of the table for a device: its own or, on NVIDIA, the nearest older one.

    Raises ValueError where the table has none.
    """
    if device.type != "cuda":
        return INTERPRETED
    if torch.version.hip is not None:
        found = torch.cuda.get_device_properties(device).gcnArchName.partition(":")[0]
        fits = [found] if found in TABLE else []
    else:
        major, minor = torch.cuda.get_device_capability(device)
        found = f"sm_{major}{minor}"
        known = [name for name in TABLE if name.startswith("sm_")]
        fits = [name for name in known if int(name[3:]) <= 10 * major + minor]
    if not fits:
        raise ValueError(
            f"device={device} is {found}; the Triton kernels have tiles for {', '.join(TABLE)} and "
            "what follows them on NVIDIA: pass backend='eager', which is slower"
        )
    return fits[-1]
