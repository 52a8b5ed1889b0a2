"""A frozen FP8 stack needs at most 0.6 of the memory of the bfloat16 one."""

import gc
import weakref

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fp8_qat import prepare, recipes


class Peak(TorchDispatchMode):
    """Follows every storage that an operation makes until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.free, key, size)

    def free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


def peak_bytes(model: nn.Module, x: Tensor) -> int:
    """Weights, buffers and everything alive at once during forward and backward."""
    gc.collect()
    with Peak() as peak:
        for tensor in (*model.parameters(), *model.buffers()):
            peak.add(tensor)
        model(x).float().square().mean().backward()
    return peak.most


def stack() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(512, 512) for _ in range(24))).bfloat16().requires_grad_(False)


def test_frozen_stack_needs_little_memory() -> None:
    dense, light = stack(), stack()
    prepare(light, recipes.rowwise())
    x = torch.randn(32, 512, dtype=torch.bfloat16, requires_grad=True)
    assert peak_bytes(light, x) <= 0.6 * peak_bytes(dense, x)
