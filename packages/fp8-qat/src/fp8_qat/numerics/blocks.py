"""Matrices seen as blocks that share a scale."""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from fp8_qat.numerics.errors import check_tensor
from fp8_qat.numerics.spec import Granularity

AT_ONCE = 2**18  # float32 values that fit the second-level cache of common CPUs
_AT_ONCE_ELSEWHERE = 2**22


def to_blocks(
    x: Shaped[Tensor, "*lead k"], granularity: Granularity
) -> Shaped[Tensor, "block_rows r block_columns c"]:
    """View a tensor as blocks; leading axes count as rows, tails are filled with zeros."""
    matrix = x.reshape(-1, x.shape[-1])
    rows, columns = matrix.shape
    if granularity == "tensor":
        return rearrange(matrix, "r c -> 1 r 1 c")
    if granularity == "row":
        return rearrange(matrix, "br c -> br 1 1 c")
    assert not isinstance(granularity, str)
    r, c = granularity
    if rows % r or columns % c:
        matrix = torch.nn.functional.pad(matrix, (0, -columns % c, 0, -rows % r))
    return rearrange(matrix, "(br r) (bc c) -> br r bc c", r=r, c=c)


def from_blocks(
    blocks: Shaped[Tensor, "block_rows r block_columns c"], shape: torch.Size
) -> Shaped[Tensor, "..."]:
    """Undo `to_blocks` for a tensor of the given shape, dropping filled tails."""
    rows = shape.numel() // shape[-1] if shape[-1] else 0
    matrix = rearrange(blocks, "br r bc c -> (br r) (bc c)")
    if matrix.shape != (rows, shape[-1]):
        matrix = matrix[:rows, : shape[-1]]
    return matrix.reshape(shape)


def blocks_amax(
    blocks: Float[Tensor, "block_rows r block_columns c"],
) -> Float32[Tensor, "block_rows block_columns"]:
    """Give the largest magnitude of every block in float32; NaN where a block has one."""
    block_rows, _, block_columns, _ = blocks.shape
    if blocks.numel() == 0:
        return blocks.new_zeros(block_rows, block_columns, dtype=torch.float32)
    if blocks.device.type != "cpu":
        high, low = blocks.amax((1, 3)), blocks.amin((1, 3))  # exact in any dtype
        return torch.maximum(high, low.neg_()).abs_().float()
    # On a CPU reductions of 16-bit values are many times slower than those of float32.
    amax = blocks.new_zeros(block_rows, block_columns, dtype=torch.float32)
    for part, rows in in_parts(blocks, AT_ONCE):
        amax[rows] = torch.maximum(amax[rows], blocks[part].abs().float().amax((1, 3)))
    return amax


def in_parts(
    blocks: Shaped[Tensor, "block_rows r block_columns c"], at_once: int
) -> Iterator[tuple[tuple[slice, slice], slice]]:
    """Part blocks by rows: index pairs for the blocks, and the matching ones for scales.

    - `at_once`: about how many values a part has on a CPU; elsewhere parts have 4 million.

    Elementwise work on large tensors goes part by part, because float32 copies of a whole
    one would cost memory and cache. Compiled code needs no copies and takes it whole.
    """
    block_rows, r, _, _ = blocks.shape
    at_once = at_once if blocks.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    if torch.compiler.is_compiling() or blocks.numel() <= at_once:
        yield (slice(None), slice(None)), slice(None)
    elif block_rows > 1:
        for rows in _slices(block_rows, at_once * block_rows // blocks.numel()):
            yield (rows, slice(None)), rows
    else:
        for rows in _slices(r, at_once * r // blocks.numel()):
            yield (slice(None), rows), slice(None)


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, max(1, step)):
        yield slice(start, start + max(1, step))


def over_blocks(
    scale: Float32[Tensor, "block_rows block_columns"],
) -> Float32[Tensor, "block_rows 1 block_columns 1"]:
    """Shape scales so that they broadcast over `to_blocks`."""
    return rearrange(scale, "br bc -> br 1 bc 1")


def check_scale(
    name: str, scale: object, blocks: Shaped[Tensor, "block_rows r block_columns c"]
) -> None:
    """Raise ValueError, or TypeError for no tensor, unless there is one float32 scale a block."""
    check_tensor(name, scale)
    assert isinstance(scale, Tensor)
    wanted = (blocks.shape[0], blocks.shape[2])
    if tuple(scale.shape) != wanted or scale.dtype != torch.float32:
        raise ValueError(
            f"{name}={scale.dtype} of shape {tuple(scale.shape)}; it must be torch.float32 of "
            f"shape {wanted}, one for each block: give the scale of this tensor"
        )
    if scale.device != blocks.device:
        raise ValueError(
            f"{name}=tensor on {scale.device}; it must be on {blocks.device}, as the values are: "
            "move one to the other"
        )
