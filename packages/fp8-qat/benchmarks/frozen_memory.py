"""Peak memory of a stack of frozen linear layers, bfloat16 against released FP8, as JSON.

    python benchmarks/frozen_memory.py --layers 24 --dim 1024 --tokens 256 --out memory.json

Counts weights, buffers and everything that is alive at once during forward and backward
towards the input.
"""

import argparse
import json
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
from machine import machine
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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


def peak_bytes(model: nn.Module, x: Tensor) -> int:
    with Peak() as peak:
        for tensor in (*model.parameters(), *model.buffers()):
            peak.add(tensor)
        model(x).float().square().mean().backward()
    return peak.most


def stack(layers: int, dim: int) -> nn.Sequential:
    made = nn.Sequential(*(nn.Linear(dim, dim) for _ in range(layers)))
    return made.bfloat16().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    x = torch.randn(arguments.tokens, arguments.dim, dtype=torch.bfloat16, requires_grad=True)
    dense, light = (stack(arguments.layers, arguments.dim) for _ in range(2))
    prepare(light, recipes.rowwise())
    figures = {"bfloat16_bytes": peak_bytes(dense, x), "released_fp8_bytes": peak_bytes(light, x)}
    ratio = figures["released_fp8_bytes"] / figures["bfloat16_bytes"]
    settings = vars(arguments) | {"out": arguments.out.name}
    result = figures | {"ratio": ratio, "settings": settings, "torch": torch.__version__}
    result["machine"] = machine()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"released FP8 needs {ratio:.3f} of the memory of bfloat16\n")


if __name__ == "__main__":
    main()
