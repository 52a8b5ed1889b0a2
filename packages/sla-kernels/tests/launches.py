"""Run the launchers with a GPU's compiler and no GPU; run by test_launches.py, as a program.

Triton's just-in-time compiler makes of real arguments what it would make of them there: strides of
views, heads and scenes that are one, the types of numbers. Nothing is launched, every tensor that a
kernel would fill holds zeros, and the programs of every grid are counted.
"""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from sla_kernels import order_tokens, select_blocks, select_rows, sla_attention
from sla_kernels.search import choice

TARGET = "sm_90"
MODULES = ("sparse.launch", "linear.launch", "summary.launch", "search.launch")
MODULES += ("search.launch_cells", "order.launch")
CASES = ((2, 301, 301, 4, 2, 64), (1, 200, 333, 1, 1, 64))  # scenes, tokens, keys, heads, width


class Nowhere:
    """In the place of a GPU's driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", int(TARGET[3:]), 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    driver.set_active(Nowhere())
    compile_for = JITFunction.run

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        made = compile_for(kernel, *args, grid=grid, warmup=True, **named)
        seen = found.setdefault(kernel.__name__, {"programs": [], "shared": 0})
        seen["programs"] += list(grid)
        seen["shared"] = max(seen["shared"], made.metadata.shared)
        return made

    JITFunction.run = run
    torch.empty = lambda *sizes, **named: torch.zeros(*sizes, **named)
    for name in MODULES:
        import_module(f"sla_kernels.{name}").architecture_of = lambda device: TARGET
    import_module("sla_kernels.runtime.triton").check_interpreted = lambda dtype: None
    for name in ("search.choose", "order.op"):
        import_module(f"sla_kernels.{name}").has_kernels = lambda device: True
    choice.WORTH = 10.0  # lists however few tokens there are
    for case in CASES:
        call(*case)
    order_tokens(torch.randn(1, 9000, 4), (4, 64), axes=torch.eye(4))
    sys.stdout.write(json.dumps(found))


def call(b: int, n: int, m: int, h: int, g: int, d: int) -> None:
    """Everything that attends, forward and backward."""
    kinds = [(h, n), (g, m), (g, m)]
    x = [torch.randn(b, t, a, d).bfloat16().transpose(1, 2).requires_grad_() for a, t in kinds]
    weight, bias = torch.randn(d, d).bfloat16().requires_grad_(), torch.randn(d).bfloat16()
    for pinned in pins(n, m):
        blocks = select_blocks(*x[:2], keep=2, pinned=pinned)
        pull_back(x, selection=blocks, linear=None)
        pull_back(x, selection=blocks, linear="complement", weight=weight, bias=bias)
        axes = torch.randn(g * d, 16)
        for order in ("content", "sequence"):
            rows = select_rows(*x, keep=3, opened=2, axes=axes, order=order, pinned=pinned)
            pull_back(x, selection=rows, linear=None)


def pins(n: int, m: int) -> Iterator[Tensor | None]:
    yield None
    if n == m:
        yield torch.tensor([5, 7])


def pull_back(x: list[Tensor], **how: Any) -> None:
    out = sla_attention(*x, backend="triton", **how)
    torch.autograd.grad(out.float().sum(), x)


if __name__ == "__main__":
    main()
