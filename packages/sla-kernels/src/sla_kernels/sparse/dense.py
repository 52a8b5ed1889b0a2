"""Attention over every key; what computes it here is an operator known to PyTorch."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from sla_kernels.runtime.checks import check_no_tangents
from sla_kernels.runtime.library import register
from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.products import product_type

MANY = 1024  # keys
AT_ONCE = 2**20  # weights that are made at once: they stay in a core's cache


def dense_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """By PyTorch's fused kernel, or on a CPU, without gradients, by what takes less time.

    Passes take half of the kernel's for bfloat16, where the processor multiplies it, and four
    fifths for many keys of float32; two products of bfloat16 take three fifths.
    """
    if q.device.type == "cpu" and not _is_recorded(q, k, v) and _takes_less(q, k, v):
        check_no_tangents(q, k, v)
        found: Tensor = torch.ops.sla_kernels.attend_all(q, k, v, scale)
        return found
    group = q.shape[1] // k.shape[1]
    if group > 1:  # some devices have no fused kernel for groups, and would write all scores out
        k, v = (repeat(x, "b g m d -> b (g r) m d", r=group) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def _is_recorded(*tokens: Tensor) -> bool:
    """Whether a gradient or a graph is made."""
    if torch.compiler.is_compiling():  # first, as nothing else here is traced
        return True
    return torch.is_grad_enabled() and any(x.requires_grad for x in tokens)


def _takes_less(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether `attend_all` takes less time than PyTorch's kernel."""
    if q.dtype == torch.bfloat16:
        return product_type(q) == q.dtype
    passes = passes_for(q, k, v)
    return passes is not None and passes.attends(q) and k.shape[2] >= MANY


def attend_all(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attend every key on a CPU; the output lies token by token."""
    passes = passes_for(q, k, v)
    if passes and passes.attends(q):
        found: Tensor = passes.attend_all(q, k, v, scale)
        return found
    return _by_products(q, k, v, scale)


def fake_attend_all(q: Tensor) -> Tensor:
    """Say what it returns, from shapes alone."""
    b, h, n, d = q.shape
    return rearrange(q.new_empty(b, n, h, d), "b n h d -> b h n d")


def _by_products(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attend head by head, some queries at a time."""
    (b, h, n, _), out = q.shape, fake_attend_all(q)
    step = max(16, AT_ONCE // (b * k.shape[2]))
    for head in range(h):
        own = head * k.shape[1] // h
        keys, values = k[:, own].mT, v[:, own]
        for start in range(0, n, step):
            some = slice(start, start + step)
            weights = (q[:, head, some] * scale) @ keys
            out[:, head, some] = torch.softmax(weights, -1, out=weights) @ values
    return out


register(attend_all, fake_attend_all)
