"""Which keys the linear branch sees."""

from dataclasses import dataclass

from torch import Tensor

from sla_kernels.select.blocks import lists_to_mask


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Blocks of queries and keys, and for each query block the key blocks out of its scope."""

    block_q: int
    block_k: int
    skipped: tuple[Tensor, ...] = ()  # int32 [b h query_blocks _], padded with -1

    def mix(self, states: Tensor, batch: int, queries: slice) -> Tensor:
        """Sum states (heads, key_blocks, a, b) over each query block's scope."""
        if not self.skipped:
            group = (queries.stop - queries.start) // states.shape[0]
            return states.expand(-1, group, -1, -1)
        mask = self._mask(states, batch, queries, states.shape[1])
        return (mask @ states.flatten(2)).reshape(*mask.shape[:2], *states.shape[2:])

    def unmix(self, gradient: Tensor, batch: int, queries: slice, key_blocks: int) -> Tensor:
        """Pull a gradient (heads, query_blocks, a, b) of `mix` back to the states."""
        if not self.skipped:
            return gradient.sum(1, keepdim=True)
        mask = self._mask(gradient, batch, queries, key_blocks)
        sums = mask.mT @ gradient.flatten(2)
        return sums.reshape(*sums.shape[:2], *gradient.shape[2:])

    def _mask(self, like: Tensor, batch: int, queries: slice, key_blocks: int) -> Tensor:
        """One where a key block is in scope, (heads, query_blocks, key_blocks)."""
        lists = [x[batch : batch + 1, queries] for x in self.skipped]
        out = lists_to_mask(lists[0], key_blocks)
        for more in lists[1:]:
            out = out | lists_to_mask(more, key_blocks)
        return (~out).to(like.dtype).reshape(like.shape[0], -1, key_blocks)
