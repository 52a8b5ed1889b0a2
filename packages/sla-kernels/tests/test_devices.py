"""Launches: on the device of the tensors, within what a GPU counts and reaches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sla_kernels import SparseLinearAttention, backend, block_sparse_attention, select_blocks
from sla_kernels.linear import eager as linear_eager
from sla_kernels.linear import launch as linear_launch
from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.runtime import library, tiles
from sla_kernels.runtime.triton import grid, within_reach
from sla_kernels.select import op as select_op
from sla_kernels.select.lists import BlockLists
from sla_kernels.sparse import eager as sparse_eager
from sla_kernels.sparse import launch as sparse_launch

from .cases import qkv

HEADS = 70_000  # more than the second axis of a grid counts


class Kernel:
    """In the place of a Triton kernel: notes the grids and arguments it is launched with."""

    def __init__(self) -> None:
        self.grids: list[tuple[int, ...]] = []
        self.strides: list[tuple[Any, ...]] = []

    def __getitem__(self, size: tuple[int, ...]) -> Any:
        def launch(*args: Any, **_: Any) -> None:
            self.grids.append(size)
            self.strides.append(tuple(x for x in args if isinstance(x, int)))

        return launch


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """Every kernel replaced by one that only takes notes."""
    made = []
    for module in (sparse_launch, linear_launch):
        for name in vars(module):
            if name.endswith("_kernel"):
                made.append(Kernel())
                monkeypatch.setattr(module, name, made[-1])
    return made


def lists_of(heads: int, query_blocks: int, kept: int, block: tuple[int, int]) -> BlockLists:
    """Lists without data."""
    indices = torch.empty(1, heads, query_blocks, kept, dtype=torch.int32, device="meta")
    return BlockLists(indices, indices[..., 0], None, None, 0, *block)


def launch_everything(x: Tensor, lists: BlockLists) -> None:
    """Both passes of both branches."""
    rule = Rule("all", "softmax", 1e-5)
    scope = Scope.of(rule, lists, x.shape[2], x.shape[2])
    out, lse = sparse_launch.sparse_attention_forward(x, x, x, lists, 0.2)
    sparse_launch.sparse_attention_backward(x, x, x, x, out, lse, lists, 0.2)
    linear_launch.linear_attention_forward(x, x, x, None, None, out, scope, rule)
    linear_launch.linear_attention_backward(x, x, x, x, None, scope, rule)


def test_any_number_of_heads_fits_the_grid(kernels: list[Kernel]) -> None:
    x = torch.empty(1, HEADS, 64, 64, dtype=torch.float16, device="meta")
    launch_everything(x, lists_of(HEADS, 1, 1, (64, 64)))
    grids = [size for kernel in kernels for size in kernel.grids]
    assert len(kernels) == 7 and all(kernel.grids for kernel in kernels)
    assert all(size[0] >= HEADS and max(size[1:], default=1) < 65_536 for size in grids)


def test_more_programs_than_a_gpu_counts_are_refused() -> None:
    x = torch.empty(1 << 16, 1 << 10, 1, 32, device="meta")
    assert grid(31, x)[0] == 31 << 26
    with pytest.raises(ValueError, match=r"needs 2147483648 programs; .*: pass the batch in parts"):
        grid(32, x)


def test_tokens_too_far_apart_for_32_bits_are_copied(kernels: list[Kernel]) -> None:
    """A tile of 256 tokens, each 2^24 elements from the next, ends beyond 2^31."""
    near, far = (
        torch.empty_strided((1, 2, 300, 64), (0, 64, step, 1), dtype=torch.float16, device="meta")
        for step in (1 << 23, 1 << 24)
    )
    assert within_reach(near) is near
    assert within_reach(far).is_contiguous()
    launch_everything(far, lists_of(2, 5, 1, (64, 64)))
    assert all(1 << 24 not in found for kernel in kernels for found in kernel.strides)


@pytest.mark.usefixtures("kernels")
def test_columns_longer_than_32_bits_are_refused() -> None:
    x = torch.empty(1, 1, 1 << 20, 64, dtype=torch.float16, device="meta")
    lists = lists_of(1, 1 << 16, 1 << 15, (16, 16))
    with pytest.raises(ValueError, match=r"columns of 2147483648 tiles; .*: choose larger blocks"):
        sparse_launch.sparse_attention_backward(x, x, x, x, x, x[..., 0].float(), lists, 0.2)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The tensors whose devices are current: those of the guards entered and not left."""
    entered: list[Tensor] = []

    @contextmanager
    def device_of(x: Tensor) -> Iterator[None]:
        entered.append(x)
        yield
        entered.pop()

    monkeypatch.setattr(library.torch.cuda, "device_of", device_of)
    return entered


def test_every_operator_runs_on_the_device_of_its_tensors(
    current: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watch(module: Any, name: str) -> None:
        plain = getattr(module, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            assert current and current[-1].device == args[0].device
            seen.append(name)
            return plain(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    for module, stem in ((sparse_eager, "sparse"), (linear_eager, "linear")):
        for direction in ("forward", "backward"):
            watch(module, f"{stem}_attention_{direction}")
    watch(select_op, "top_k")
    q, k, v = (x.requires_grad_() for x in qkv(50, 50))
    selection = select_blocks(q, k, keep=0.5, block=(16, 16))
    block_sparse_attention(q, k, v, selection).sum().backward()
    SparseLinearAttention(32, keep=0.5, block=(16, 16))(q, k, v).sum().backward()
    assert {name: seen.count(name) for name in seen} == {
        "top_k": 2 + 2,  # the best and the worst blocks
        "sparse_attention_forward": 2,
        "sparse_attention_backward": 2,
        "linear_attention_forward": 1,
        "linear_attention_backward": 1,
    }
    assert not current


def test_a_gpu_without_bfloat16_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    tiles.architecture_of.cache_clear()
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        with FakeTensorMode():
            q = torch.empty(1, 2, 64, 64, dtype=dtype, device="cuda")
        with pytest.raises(ValueError, match=r"is sm_75; .*: pass backend='reference'"):
            backend.own(q)
