"""From block scores to ascending lists, the same on every run."""

import math

import torch
from jaxtyping import Bool, Float32, Int32, Int64
from torch import Tensor

from sla_kernels.runtime.library import is_writing_out

Scores = Float32[Tensor, "b h query_blocks key_blocks"]

KEEP_STEPS = 1 << 24  # a keep fraction as an integer ratio, so that symbolic shapes stay exact
MASS_STEPS = 1 << 40  # of mass: integers add up in any order to the same sum, on a GPU too


def kept_blocks(keep: float | int, key_blocks: int) -> int:
    """How many key blocks `keep` stands for: a fraction rounds down, to at least one."""
    if isinstance(keep, int):
        return smaller(keep, key_blocks)
    return larger(1, key_blocks * steps_of(keep) // KEEP_STEPS)


def smaller(a: int, b: int) -> int:
    """The smaller of two sizes, either of which may be symbolic."""
    if _plain(a, b):
        return min(a, b)
    least: int = torch.sym_min(a, b)
    return least


def larger(a: int, b: int) -> int:
    """The larger of two sizes, either of which may be symbolic."""
    if _plain(a, b):
        return max(a, b)
    most: int = torch.sym_max(a, b)
    return most


def _plain(a: int, b: int) -> bool:
    """Whether Python compares them: Dynamo keeps it symbolic, and older ones trace no sym_min."""
    return torch.compiler.is_dynamo_compiling() or type(a) is type(b) is int


def steps_of(keep: float) -> int:
    """A fraction in steps of 2^-24, rounded up so that 0.29 of 100 blocks are 29."""
    return min(KEEP_STEPS, int(keep * KEEP_STEPS) + 1)


def rank(scores: Scores) -> Int64[Tensor, "b h query_blocks key_blocks"] | Scores:
    """Integers ordered as the scores are, all different: of equal scores the first is larger.

    Written out they are the scores: an exporter's format may know no bits of a number, and the
    runtimes of ONNX take the first of equal ones themselves.
    """
    if is_writing_out():
        return scores
    bits = (scores + 0.0).contiguous().view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    key_blocks = scores.shape[-1]
    return ordered * 2**32 + torch.arange(key_blocks - 1, -1, -1, device=scores.device)


def top_k(
    scores: Float32[Tensor, "b h query_blocks key_blocks"], kept: int, *, largest: bool = True
) -> Int32[Tensor, "b h query_blocks kept"]:
    """The `kept` best blocks of each row, ascending by number."""
    best = rank(scores).topk(kept, dim=-1, largest=largest, sorted=False).indices
    return best.sort(-1).values.int()


def top_p(
    scores: Float32[Tensor, "b h query_blocks key_blocks"],
    sizes: Int64[Tensor, " key_blocks"],
    share: float,
) -> Bool[Tensor, "b h query_blocks key_blocks"]:
    """The best blocks, taken in order until their estimated softmax mass reaches `share`.

    The order is that of `top_k`, so that a row's best block is kept by both, also where a broken
    token leaves no mass to compare.
    """
    mass = (scores + sizes.to(scores.dtype).log()).softmax(-1)
    order = rank(scores).sort(-1, descending=True).indices
    best_first = (mass.gather(-1, order).nan_to_num(1.0) * MASS_STEPS).long()
    before = best_first.cumsum(-1) - best_first
    taken = before < math.ceil(share * MASS_STEPS)  # the best: nothing is before it
    return torch.zeros_like(mass, dtype=torch.bool).scatter(-1, order, taken)


def diagonal(
    query_blocks: int, key_blocks: int, block: tuple[int, int], device: torch.device
) -> Bool[Tensor, "r c"]:
    """The key blocks that hold tokens of the query block itself."""
    rows = torch.arange(query_blocks, device=device)[:, None] * block[0]
    columns = torch.arange(key_blocks, device=device) * block[1]
    return (columns < rows + block[0]) & (rows < columns + block[1])
