"""Operators return what their fakes say where kernels run: compiled graphs rely on every stride.

Kernels are not launched, so that a GPU's path runs anywhere: what they would fill holds zeros.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sla_kernels import select_blocks, select_rows, sla_attention
from sla_kernels.order import op as order_op
from sla_kernels.runtime.dry import dry_run
from sla_kernels.search import choice, choose


class Beside(TorchDispatchMode):
    """Runs each operator of this package, and its fake beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace != "sla_kernels" or func is torch.ops.sla_kernels.launch.default:
            return func(*args, **(kwargs or {}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "empty", lambda *size, **how: torch.zeros(*size, **how))
            made = func(*args)
        with FakeTensorMode() as mode:
            faked = func(*tree_map(lambda x: told(mode, x), args))
        for real, fake in zip(tensors(made), tensors(faked), strict=True):
            assert (real.shape, real.stride(), real.dtype) == (
                fake.shape, fake.stride(), fake.dtype,
            ), func  # fmt: skip
            inputs = {x.untyped_storage().data_ptr() for x in tensors(args) if x.numel()}
            assert real.untyped_storage().data_ptr() not in inputs or not real.numel(), func
        self.names.add(func.overloadpacket.__name__)
        return made


def told(mode: FakeTensorMode, x: Any) -> Any:
    return mode.from_tensor(x) if isinstance(x, Tensor) else x


def tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


@pytest.fixture(autouse=True)
def dry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(choose, "has_kernels", lambda device: True)
    monkeypatch.setattr(order_op, "has_kernels", lambda device: True)
    monkeypatch.setattr(choice, "WORTH", 10.0)
    with dry_run():
        yield


@pytest.mark.parametrize("pinned", [None, torch.tensor([5, 7])])
def test_results_have_the_strides_that_compiled_graphs_expect(pinned: Tensor | None) -> None:
    x = [torch.randn(2, 67, h, 32).transpose(1, 2).requires_grad_() for h in (4, 2, 2)]
    weight, bias = torch.randn(32, 32, requires_grad=True), torch.randn(32, requires_grad=True)
    with Beside() as seen:
        for keep in (2, 1.0):
            blocks = select_blocks(*x[:2], keep=keep, block=(32, 16), pinned=pinned, negligible=0.2)
            for linear in (None, "all", "marginal"):
                how = {} if linear is None else {"weight": weight, "bias": bias}
                call = {"selection": blocks, "linear": linear, "backend": "triton", **how}
                torch.autograd.grad(sla_attention(*x, **call).sum(), x)
                with torch.no_grad():
                    sla_attention(*x, **call)
        for order in ("content", "sequence"):
            rows = select_rows(
                *x, keep=3, block=(16, 4), summary=(4, 16), order=order, axes=4, pinned=pinned
            )
            out = sla_attention(*x, selection=rows, linear="all", backend="triton")
            torch.autograd.grad(out.sum(), x)
    assert {"choose_rows", "select_blocks", "sla_attention_backward"} < seen.names
    assert {"summary_attention_backward", "linear_attention_backward"} < seen.names
