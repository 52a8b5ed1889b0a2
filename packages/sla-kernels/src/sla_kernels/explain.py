"""What an attention call would run, in words and numbers."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.backend import crossover, resolve, tile_of
from sla_kernels.runtime.checks import check_keys
from sla_kernels.select.choice import given_or_chosen
from sla_kernels.select.selection import BlockSelection


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What runs and why. `density` is the share of query-key pairs attended exactly."""

    backend: str
    reason: str
    tile: str
    block: tuple[int, int]
    key_blocks: int
    kept_blocks: tuple[int, int]  # the fewest and the most of any row
    pinned: int
    density: float
    dense: bool  # every key block is kept, so dense attention is what is computed
    crossover: tuple[float, float] | None  # densities, see `backend.crossover`; None: not measured

    def __str__(self) -> str:
        low, high = self.kept_blocks
        kept = str(low) if low == high else f"{low} to {high}"
        lines = [
            f"backend  {self.backend}: {self.reason}",
            f"tile     {self.tile}",
            f"blocks   {kept} of {self.key_blocks} key blocks, {self.block} tokens, "
            f"{self.pinned} tokens pinned",
            f"density  {self.density:.4f}" + (" (dense: every block is kept)" * self.dense),
            f"dense    {self._beside_dense()}",
        ]
        return "\n".join(lines)

    def _beside_dense(self) -> str:
        if self.crossover is None:
            return "from which density dense attention is faster on this device is not measured"
        cases = zip(("without gradients", "with gradients"), self.crossover, strict=True)
        return "; ".join(
            f"{case} {'dense attention' if self.density >= at else 'this selection'} is faster "
            f"(crossover at density {at})"
            for case, at in cases
        )


def explain(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    *,
    keep: float | int | None = None,
    selection: BlockSelection | None = None,
    block: tuple[int, int] = (128, 64),
    pinned: Int64[Tensor, " pinned"] | None = None,
    backend: str = "auto",
) -> Explanation:
    """Say what `sla_attention` would run on these tensors: backend, tile, density, and why.

    "auto" picks who computes, never what: lists are obeyed as they are, and dense attention runs
    only where every block is kept. Where keeping fewer no longer pays, this says so. Reads the
    lists, so on an accelerator it waits for the device.

    Raises ValueError where the call itself would.
    """
    check_keys(q, k)
    selection = given_or_chosen(selection, q, k, pinned, keep, block=block)
    name, reason = resolve(backend, q, k, selection)
    counts = selection.counts
    return Explanation(
        backend=name,
        reason=reason,
        tile=tile_of(name, q, selection.block),
        block=selection.block,
        key_blocks=selection.key_blocks,
        kept_blocks=(int(counts.min()), int(counts.max())),
        pinned=selection.num_pinned,
        density=selection.density,
        dense=int(counts.min()) == selection.key_blocks,
        crossover=crossover(q),
    )
