"""Blocks are runs of consecutive tokens, the last one perhaps shorter; lists of them, and masks."""

import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor


def num_blocks(tokens: int, size: int) -> int:
    """How many blocks of `size` cover `tokens`."""
    return (tokens + size - 1) // size


def block_sizes(tokens: int, size: int, device: torch.device) -> Int64[Tensor, " blocks"]:
    """The true length of each block."""
    starts = torch.arange(num_blocks(tokens, size), device=device) * size
    return (tokens - starts).clamp(max=size)


def pinned_last(tokens: int, pinned: Int64[Tensor, " pinned"]) -> Int64[Tensor, " tokens"]:
    """Positions with the pinned ones last, each part in sequence."""
    places = torch.arange(tokens, device=pinned.device)
    return places.index_copy(0, pinned, pinned + tokens).argsort()


def free_positions(tokens: int, pinned: Int64[Tensor, " pinned"]) -> Int64[Tensor, " free"]:
    """Positions of the tokens that are not pinned, in sequence."""
    if not pinned.shape[0]:
        return torch.arange(tokens, device=pinned.device)
    if pinned.device.type == "cpu" and not torch.compiler.is_compiling():  # nobody waits for it
        left = torch.ones(tokens, dtype=torch.bool, device=pinned.device).index_fill_(
            0, pinned, False
        )
        return left.nonzero()[:, 0]
    return pinned_last(tokens, pinned)[: tokens - pinned.shape[0]]


def lists_to_mask(
    lists: Int32[Tensor, "b h query_blocks kept"], key_blocks: int
) -> Bool[Tensor, "b h query_blocks key_blocks"]:
    """Turn lists padded with -1 into a mask."""
    mask = lists.new_zeros((*lists.shape[:3], key_blocks + 1), dtype=torch.bool)
    spare = torch.where(lists < 0, key_blocks, lists).long()
    return mask.scatter(3, spare, True)[..., :key_blocks]


def mask_to_lists(
    mask: Bool[Tensor, "b h query_blocks key_blocks"], width: int
) -> Int32[Tensor, "b h query_blocks width"]:
    """Turn a mask into ascending lists of `width` entries, padded with -1."""
    key_blocks = mask.shape[3]
    numbers = torch.arange(key_blocks, dtype=torch.int32, device=mask.device)
    numbers = torch.where(mask, numbers, key_blocks).sort(-1).values[..., :width]
    return torch.where(numbers == key_blocks, -1, numbers).int()
