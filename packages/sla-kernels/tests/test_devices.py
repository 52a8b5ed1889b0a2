"""Launches: on the device of the tensors, within what a GPU counts and reaches."""

import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from sla_kernels import SparseLinearAttention, backend, block_sparse_attention, select_blocks
from sla_kernels.linear import eager as linear_eager
from sla_kernels.linear import launch as linear_launch
from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.order import axes, captured
from sla_kernels.runtime import library, parts, tiles
from sla_kernels.runtime.grid import grid, within_reach
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
def kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Kernel]:
    """Every kernel that is launched replaced by one that only takes notes."""
    made: dict[str, Kernel] = defaultdict(Kernel)
    for module in (sparse_launch, linear_launch):
        monkeypatch.setattr(module, "launched", made.__getitem__)
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


def test_any_number_of_heads_fits_the_grid(kernels: dict[str, Kernel]) -> None:
    x = torch.empty(1, HEADS, 64, 64, dtype=torch.float16, device="meta")
    launch_everything(x, lists_of(HEADS, 1, 1, (64, 64)))
    grids = [size for kernel in kernels.values() for size in kernel.grids]
    assert len(kernels) == 7
    assert all(size[0] >= HEADS and max(size[1:], default=1) < 65_536 for size in grids)


def test_more_programs_than_a_gpu_counts_are_refused() -> None:
    x = torch.empty(1 << 16, 1 << 10, 1, 32, device="meta")
    assert grid(31, x)[0] == 31 << 26
    with pytest.raises(ValueError, match=r"needs 2147483648 programs; .*: pass the batch in parts"):
        grid(32, x)


def test_tokens_too_far_apart_for_32_bits_are_copied(kernels: dict[str, Kernel]) -> None:
    """A tile of 256 tokens, each 2^24 elements from the next, ends beyond 2^31."""
    near, far = (
        torch.empty_strided((1, 2, 300, 64), (0, 64, step, 1), dtype=torch.float16, device="meta")
        for step in (1 << 23, 1 << 24)
    )
    assert within_reach(near) is near
    assert within_reach(far).is_contiguous()
    launch_everything(far, lists_of(2, 5, 1, (64, 64)))
    assert all(1 << 24 not in found for kernel in kernels.values() for found in kernel.strides)


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
        "top_k": 2,  # the best blocks; none are negligible
        "sparse_attention_forward": 2,
        "sparse_attention_backward": 2,
        "linear_attention_forward": 1,
        "linear_attention_backward": 1,
    }
    assert not current


class Placed(Tensor):
    """Queries without values on a device that this machine has not."""

    @staticmethod
    def __new__(cls, kind: str, dtype: torch.dtype = torch.float32) -> "Placed":
        where = torch.device(kind)
        made: Placed = Tensor._make_wrapper_subclass(cls, (1, 2, 64, 64), dtype=dtype, device=where)
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(func)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What was found out about devices is found out anew, and forgotten afterwards."""
    caches = (tiles.architecture_of, backend._without_triton)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_a_gpu_older_than_the_kernels_runs_pytorchs_products_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not backend.has_kernels(torch.device("cuda:0"))  # nor does the search launch one
    for dtype in (torch.float16, torch.float32):
        with pytest.warns(UserWarning, match=r"is sm_75; the Triton kernels .*, which is slower"):
            name, reason = backend.own(Placed("cuda:0", dtype))
        assert name == "eager" and "sm_75" in reason
    with pytest.raises(ValueError, match=r"is sm_75; .*: pass backend='eager', which is slower"):
        backend._check_triton(Placed("cuda:0"))


@pytest.mark.usefixtures("forgetful")
def test_without_triton_a_gpu_runs_pytorchs_products_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> Any:
        raise ImportError("No module named 'triton'")

    monkeypatch.setattr(backend, "import_module", absent)
    with pytest.warns(UserWarning, match=r"No module named 'triton'.*pip install 'sla-kernels"):
        assert backend.own(Placed("cuda:0"))[0] == "eager"
    with pytest.raises(ValueError, match=r"cannot be imported .*pass backend='eager'"):
        backend._check_triton(Placed("cuda:0"))  # asked for by name, it is refused


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_a_device_that_has_no_kernels_runs_pytorchs_products(kind: str) -> None:
    name, reason = backend.own(Placed(kind))
    assert name == "eager" and f"no kernels for {kind}" in reason
    assert not backend.has_kernels(torch.device(kind))


MODULES = {
    "blocks": {"keep": 0.5, "block": (16, 16)},
    "rows": {"keep": 4, "block": (16, 4), "order": "content", "summary": (4, 16), "opened": 4},
}


def outcome(settings: dict[str, Any]) -> list[Tensor]:
    """Output and gradients of a module with projections that add something."""
    torch.manual_seed(0)
    module = SparseLinearAttention(32, axes=4, **settings) if "order" in settings else (
        SparseLinearAttention(32, **settings)
    )  # fmt: skip
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    q, k, v = (x.requires_grad_() for x in qkv(80, 80))
    pinned = torch.tensor([0, 41])
    with torch.device("meta"):  # whatever is made without a word of its device is useless
        out = module(q, k, v, pinned)
        grads = torch.autograd.grad(out.square().sum(), [q, k, v, *module.parameters()])
    return [out, *grads]


@pytest.mark.parametrize("settings", MODULES.values(), ids=MODULES)
def test_products_without_the_cpus_kernel_are_the_same_and_stay_on_their_device(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outcome(settings)
    monkeypatch.setattr(sparse_eager, "fused", lambda q: False)
    for found, wanted in zip(outcome(settings), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_other_devices_make_few_large_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of one length in one batch: a launch costs them more than a cache gains."""
    calls: list[tuple[int, ...]] = []

    def counted(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        calls.append(tuple(q.shape))
        return products(q, k, v, scale)

    def elsewhere(each: int, x: Tensor, cache: int) -> int:
        return at_once(each, x.to("meta"), cache)

    products, at_once = sparse_eager.products, parts.at_once
    q, k, v = qkv(1024, 1024, h=4, g=4, d=64)
    selection = select_blocks(q, k, keep=0.3, block=(32, 16))
    expected = block_sparse_attention(q, k, v, selection, backend="eager")
    monkeypatch.setattr(sparse_eager, "fused", lambda q: False)
    monkeypatch.setattr(sparse_eager, "products", counted)
    monkeypatch.setattr(sparse_eager, "at_once", elsewhere)
    found = block_sparse_attention(q, k, v, selection, backend="eager")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert calls == [(4 * 32, 1, 32, 64)]


def test_what_is_at_once_stays_within_its_bytes() -> None:
    """Also where scores of whole heads are written out."""
    here, there = torch.empty(1), torch.empty(1, device="meta")
    assert parts.at_once(1 << 20, here, 4 << 20) == 4
    assert parts.at_once(1 << 20, there, 4 << 20) == parts.ACCELERATOR_BYTES >> 20
    assert parts.at_once(1 << 40, there, 4 << 20) == 1
    q = torch.empty(1, 8, 8192, 64, device="meta")
    for whole, together in ((True, 1), (False, 8)):
        heads = list(sparse_eager._heads(q, q, whole))
        assert [one.keys.stop - one.keys.start for one in heads] == [together] * (8 // together)


def test_axes_are_found_where_a_device_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0))
    expected = axes.principal_axes(x, 3)
    monkeypatch.setattr(axes, "NO_FLOAT64", ("cpu",))
    assert torch.equal(axes.principal_axes(x, 3), expected)


def test_what_a_graph_reads_outlives_every_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "_HELD", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    found = []
    for device in ("cuda", "cpu"):
        made = captured.held_for_graphs(torch.ones(3), torch.device(device))
        found.append(weakref.ref(made))
        del made
    assert [one() is not None for one in found] == [True, False]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert captured.held_for_graphs(torch.ones(3), torch.device("cuda")).shape == (3,)
    assert len(captured._HELD) == 1
