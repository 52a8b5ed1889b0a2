"""What operators do without their kernels: shapes follow, and nothing waits for the host.

On the meta device a value cannot be read, so whatever needs one to go on raises; and a step that
touches a tensor of the CPU would be a copy to a GPU in the middle of a CUDA graph.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sla_kernels import SparseLinearAttention, bodies

WAITS = ("nonzero", "_local_scalar_dense", "masked_select", "unique", "item", "equal")


class Seen(TorchDispatchMode):
    """The operators that run, each with its tensors' devices; bodies in the place of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []
        self.bodies = bodies()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.bodies:
            with self:
                return self.bodies[func](*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        self.found.append((str(func), {x.device.type for x in tensors}))
        return result


def attention(order: str) -> SparseLinearAttention:
    if order == "sequence":
        return SparseLinearAttention(64, keep=0.3, linear="complement", top_p=0.9)
    return SparseLinearAttention(
        64, keep=8, block=(64, 4), order="content", summary=(4, 64), opened=4, axes=4, linear=None
    )


@pytest.mark.parametrize("order", ["content", "sequence"])
@pytest.mark.parametrize("pins", [0, 3])
def test_order_choice_and_attention_wait_for_nothing(order: str, pins: int) -> None:
    module = attention(order)
    if order == "content":
        module.directions = torch.empty(128, 4)
    module = module.to("meta")
    q = torch.empty(1, 2, 2748, 64, device="meta", dtype=torch.bfloat16)
    pinned = torch.empty(pins, dtype=torch.int64, device="meta") if pins else None
    with torch.no_grad():
        with Seen():
            module(q, q, q, pinned=pinned)  # plans the cuts of this length
        with Seen() as seen:
            out = module(q, q, q, pinned=pinned)
    assert out.shape == q.shape
    assert len(seen.found) > 20
    for name, devices in seen.found:
        assert not any(word in name for word in WAITS), name
        assert devices <= {"meta"}, name


def test_a_dry_run_makes_what_the_operator_returns() -> None:
    """Shapes and types of a body are those of its fake."""
    q = torch.empty(1, 4, 700, 64, device="meta", dtype=torch.float16)
    made: list[tuple[Any, Any]] = []

    class Both(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if func in found:
                made.append((result, found[func](*args)))
            return result

    found: dict[Any, Callable[..., Any]] = bodies()
    with torch.no_grad(), Both():
        attention("sequence").to("meta", torch.float16)(q, q, q)
        module = attention("content")
        module.directions = torch.empty(256, 4)
        module.to("meta", torch.float16)(q, q, q)
    assert len(made) >= 3
    for ours, body in made:
        for a, b in zip(tree_leaves(ours), tree_leaves(body), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_kernels_are_launched_again_afterwards() -> None:
    from sla_kernels.runtime.dry import dry_run, launched

    name = "search.kernels:open_cells_kernel"
    with dry_run():
        assert not hasattr(launched(name), "fn")
    assert launched(name).fn.__name__ == "open_cells_kernel"


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import test_dry
for order in ("content", "sequence"):
    test_dry.test_order_choice_and_attention_wait_for_nothing(order, 3)
test_dry.test_a_dry_run_makes_what_the_operator_returns()
"""


def test_a_dry_run_needs_no_triton() -> None:
    command = [sys.executable, "-c", WITHOUT_TRITON]
    done = run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_operator_has_a_body() -> None:
    names = {str(operator).split(".")[1] for operator in bodies()}
    assert {"choose_rows", "select_blocks", "summary_attention_forward"} <= names
