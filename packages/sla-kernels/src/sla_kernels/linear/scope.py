"""Which keys the linear branch sees."""

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from sla_kernels.linear.rule import Rule
from sla_kernels.select.blocks import lists_to_mask
from sla_kernels.select.lists import BlockLists


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Blocks of queries and keys, and for each query block the key blocks out of its scope.

    Without lists there is one block of all queries and one of all keys.
    """

    block_q: int
    block_k: int
    skipped: tuple[Tensor, ...] = ()  # int32 [b h query_blocks _], padded with -1

    @classmethod
    def of(cls, rule: Rule, lists: BlockLists, queries: int, keys: int) -> "Scope":
        """Blocks as selected where some are out of scope; else one block of everything."""
        if rule.scope == "all":
            return cls(block_q=queries, block_k=keys)
        skipped = [lists.indices]
        if rule.scope == "marginal" and lists.negligible is not None:
            skipped.append(lists.negligible)
        return cls(block_q=lists.block_q, block_k=lists.block_k, skipped=tuple(skipped))

    def part(self, batch: int, queries: slice) -> "Scope":
        """The scope of some query heads of one batch entry."""
        lists = tuple(x[batch : batch + 1, queries] for x in self.skipped)
        return Scope(block_q=self.block_q, block_k=self.block_k, skipped=lists)

    def collect(self, states: Tensor, group: int) -> Tensor:
        """Sum states (key_heads, key_blocks, a, b) over the scope of each query block.

        Returns (key_heads, group * query_blocks, a, b).
        """
        if not self.skipped:
            return states.expand(-1, group, -1, -1)
        mask = self._mask(states, states.shape[1])
        return (mask @ states.flatten(2)).reshape(*mask.shape[:2], *states.shape[2:])

    def hand_back(self, gradient: Tensor, key_blocks: int) -> Tensor:
        """Pull a gradient of `collect` back to the states."""
        if not self.skipped:
            return gradient.sum(1, keepdim=True)
        sums = self._mask(gradient, key_blocks).mT @ gradient.flatten(2)
        return sums.reshape(*sums.shape[:2], *gradient.shape[2:])

    def _mask(self, like: Tensor, key_blocks: int) -> Tensor:
        """One where a key block is in scope, (key_heads, group * query_blocks, key_blocks)."""
        out = lists_to_mask(self.skipped[0], key_blocks)
        for more in self.skipped[1:]:
            out = out | lists_to_mask(more, key_blocks)
        seen = (~out).to(like.dtype)
        group = seen.shape[0] * seen.shape[1] // like.shape[0]
        return rearrange(seen, "b (g r) i j -> (b g) (r i) j", r=group)
