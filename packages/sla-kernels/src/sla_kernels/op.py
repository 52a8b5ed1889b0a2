"""Both branches as one operator, so that their gradients are summed in place.

What is kept for the backward pass beyond the caller's own tensors: the lists, one number a query
and, on a GPU, the sparse branch's output. On the CPU the backward pass makes that anew, batch by
batch, which costs a sixth more time and saves a tensor of the size of q.
"""

from torch import Tensor

from sla_kernels.linear import op as linear
from sla_kernels.linear.rule import Rule
from sla_kernels.runtime.library import register, register_gradient
from sla_kernels.select.lists import BlockLists
from sla_kernels.sparse import op as sparse


def keeps_sparse(training: bool, backend: str) -> bool:
    """Whether the sparse branch's output is kept for the backward pass."""
    return training and backend == "triton"


def sla_attention_forward(
    training: bool,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    lists: BlockLists,
    scale: float,
    rule: Rule,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of both branches, the sparse branch and its log-sum-exp.

    Where the sparse branch is not kept, the sum takes its place and it is returned empty.
    """
    kept, lse = sparse.sparse_attention_forward(q, k, v, lists, scale, backend)
    keep = keeps_sparse(training, backend)
    out = linear.linear_attention_forward(
        q, k, v, weight, bias, lists, rule, backend, base=kept, in_place=not keep
    )
    return out, kept if keep else kept.new_empty(0), lse


def sla_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    kept: Tensor,
    lse: Tensor,
    lists: BlockLists,
    scale: float,
    rule: Rule,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, weight and bias."""
    out = kept if keeps_sparse(True, backend) else None
    made = sparse.sparse_attention_backward(grad, q, k, v, out, lse, lists, scale, backend)
    return linear.linear_attention_backward(grad, q, k, v, weight, lists, rule, backend, into=made)


def fake_forward(training: bool, q: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the forward operator returns, from shapes alone."""
    out, lse = sparse.fake_forward(q)
    return out, q.new_empty(q.shape if keeps_sparse(training, backend) else 0), lse


register(sla_attention_forward, fake_forward)
register(sla_attention_backward, linear.fake_backward)
register_gradient(
    sla_attention_forward,
    sla_attention_backward,
    outputs=("out", "kept", "lse"),
    wrt=("q", "k", "v", "weight", "bias"),
)
