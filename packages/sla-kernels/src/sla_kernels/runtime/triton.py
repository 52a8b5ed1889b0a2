"""Where the Triton kernels can run."""

from typing import no_type_check

import torch
import triton
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from sla_kernels.runtime.tiles import Tile, architecture_of, tiles_of


@no_type_check
def _nothing() -> None:
    """A kernel that is never launched: it shows what Triton makes of one."""


INTERPRETED = isinstance(triton.jit(_nothing), InterpretedFunction)


def check_interpreted(dtype: torch.dtype) -> None:
    """Refuse tensors on the CPU where nothing interprets the kernels, or not truly."""
    if not INTERPRETED:
        raise ValueError(
            "backend='triton' with q on the CPU; the kernels run on a GPU: pass "
            "backend='eager', move the tensors to a GPU, or set TRITON_INTERPRET=1 before Triton "
            "is imported"
        )
    if dtype == torch.bfloat16:
        raise ValueError(
            "backend='triton' with q of torch.bfloat16 on the CPU; Triton's interpreter multiplies "
            "bfloat16 wrongly: use float32 or float16 there, or backend='eager'"
        )


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
