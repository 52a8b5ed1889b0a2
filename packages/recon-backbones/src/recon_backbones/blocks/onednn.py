"""Linear layers by oneDNN on a CPU, where PyTorch would call another library.

In float32 without gradients PyTorch hands matrix products to the BLAS it was built with, which on
some processors reaches half the speed of oneDNN; in bfloat16 it writes the bias first and adds to
it. The arithmetic is the same; only the order of summation differs. Modules stay as they are, so
hooks, replaced layers and state dicts do too.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import register_flop_formula

from recon_backbones.blocks.precision import multiplies_bfloat16

_LARGE = 2**20  # multiplications from which the call into oneDNN pays
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def by_onednn(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer, or what stands in its place, by oneDNN where it can.

    All that is called is watched, at microseconds a call, so no more than this.
    """
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    compiled = torch.compiler.is_compiling() or traced  # a compiler chooses itself
    if compiled or not AVAILABLE or x.device.type != "cpu":
        made: Tensor = layer(x)
        return made
    with _LinearByOneDnn():
        found: Tensor = layer(x)
        return found


class _LinearByOneDnn(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        compiles = torch.compiler.is_compiling()  # a block of its own, within this forward
        if func is F.linear and not kwargs and not compiles and _fits(*args):
            return _product(*args)
        return func(*args, **(kwargs or {}))


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN can stand in: large plain tensors on a CPU, no gradient, no cast."""
    operands = (x, weight) if bias is None else (x, weight, bias)
    known = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and multiplies_bfloat16())
    return (
        all(type(t) in (Tensor, nn.Parameter) for t in operands)
        and known
        and all(t.device.type == "cpu" and t.dtype == x.dtype for t in operands)
        and x.numel() * len(weight) >= _LARGE
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in operands))
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if bias is not None:
        bias = bias.contiguous()  # numbers that lie apart would be read as if they lay in a row
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


if AVAILABLE:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
        """Count two operations per multiplication, as for any other linear layer."""
        return 2 * prod(x) * weight[0]
