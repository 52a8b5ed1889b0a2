"""Launch the kernel that scores candidates; nothing waits for the host."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import LIMIT, next_power
from sla_kernels.runtime.tiles import Tile

TILE = Tile(m=16, n=64, warps=4, stages=2)  # parts are padded to the 16 rows that a product takes


def cell_mass(
    parts: Float[Tensor, "blocks r d"],
    pinned: Float[Tensor, "blocks r 1"],
    head: Int64[Tensor, "blocks 1"],
    keys: Float[Tensor, "heads cells_and_one d"],
    logs: Float[Tensor, " cells_and_one"],
    at: Int64[Tensor, "blocks c"],
) -> Float[Tensor, "blocks c"]:
    """The mass that each block gives each of its candidates; products in the type of the keys.

    Raises ValueError for more blocks than a GPU counts programs.
    """
    blocks, candidates = at.shape
    if blocks >= LIMIT:
        raise ValueError(
            f"at has shape {tuple(at.shape)}; it must have fewer than {LIMIT} blocks: "
            "pass the batch in parts"
        )
    mass = torch.empty(at.shape, dtype=torch.float32, device=at.device)
    width, own = parts.shape[2], parts.shape[1]
    kernel = launched("search.kernels:cell_mass_kernel")
    kernel[(blocks,)](
        parts.contiguous(),
        pinned.contiguous(),
        keys.contiguous(),
        logs.contiguous(),
        at.contiguous(),
        head.contiguous(),
        mass,
        candidates,
        keys.shape[1],
        own,
        D=width,
        BLOCK_D=max(16, next_power(width)),
        PARTS=max(TILE.m, next_power(own)),
        TILE=TILE.n,
        PRECISION="tf32x3" if keys.dtype == torch.float32 and torch.version.hip is None else "ieee",
        num_warps=TILE.warps,
        num_stages=TILE.stages,
    )
    return mass
