"""The d by d algebra of the linear branch, the same for every backend.

A state is phi(k)^T v of a block of keys, and its sum is the sum of phi(k). A query block sees the
sum of the states in its scope. The projection acts on the value side of a state, so it is applied
to the state and costs nothing for each token.
"""

from typing import NamedTuple

from einops import einsum, rearrange
from torch import Tensor

from sla_kernels.linear.scope import Scope


class States(NamedTuple):
    """States and sums, of key blocks or as query blocks see them; or their gradients."""

    matrices: Tensor  # [heads blocks d d]
    sums: Tensor  # [heads blocks d 1]


def seen(own: States, weight: Tensor | None, scope: Scope, group: int) -> States:
    """What each query block sees, projected: (key_heads, group * query_blocks, ...)."""
    matrices = own.matrices if weight is None else own.matrices @ weight.to(own.matrices.dtype).T
    return States(scope.collect(matrices, group), scope.collect(own.sums, group))


def pull_back_seen(
    gradient: States, own: States, weight: Tensor | None, scope: Scope
) -> tuple[States, Tensor | None]:
    """Return the gradients of `own` and of the weight, given that of `seen(own, ...)`."""
    key_heads, key_blocks = own.matrices.shape[:2]
    by_key_head = (rearrange(x, "(g r) i a c -> g (r i) a c", g=key_heads) for x in gradient)
    matrices, sums = (scope.hand_back(x, key_blocks) for x in by_key_head)
    if weight is None:
        return States(matrices, sums), None
    d_weight = einsum(matrices, own.matrices, "g j a c, g j a e -> c e")
    return States(matrices @ weight.to(matrices.dtype), sums), d_weight
