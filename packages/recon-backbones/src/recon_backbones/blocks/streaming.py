"""Run a network in less memory: tokens wait in the host's, and blocks work on slices.

Half or more of what a forward pass holds at its peak are tokens of earlier blocks, which nothing
reads before the heads. They go out once and come back a few views at a time. And feed-forwards and
the projections of attention take some tokens at a time. Values stay the same up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from recon_backbones.blocks.transformer import Block

SLICE = 1 << 14  # tokens: products of so many rows keep a GPU busy


class Keeper(nn.Module):
    """The part of a network that keeps tokens for its heads; `offload` says where."""

    offload: bool = False

    def keep(self, x: Tensor) -> Tensor:
        """Tokens as they wait: where they are, or in the host's memory."""
        if not self.offload or x.device.type == "cpu":
            return x
        if x.is_meta:  # predictions count the device alone
            return x.new_empty(1).expand(x.shape)
        return x.cpu()  # pinned memory would be up to twice as much, rounded to a power of two


@contextmanager
def streamed(network: nn.Module, wanted: bool) -> Iterator[None]:
    """Let every keeper and block below a module stream, while this lasts; nothing unless wanted."""
    keepers = [part for part in network.modules() if wanted and isinstance(part, Keeper)]
    blocks = [part for part in network.modules() if wanted and isinstance(part, Block)]
    before = [block.slice_tokens for block in blocks]
    for keeper in keepers:
        keeper.offload = True
    for block in blocks:
        block.slice_tokens = block.slice_tokens or SLICE
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.offload = False
        for block, was in zip(blocks, before, strict=True):
            block.slice_tokens = was
