"""A model of your own trained with the rounding of FP8, then deployed as the very same function.

python examples/own_linear_fp8.py [STEPS]
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from fp8_qat import convert, load_fp8, prepare, recipes, save_fp8


def model() -> nn.Sequential:
    """Any model with linear layers."""
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.Linear(256, 8))


def main(steps: str = "100") -> None:
    """Prepare, train, convert, save, load; every step is checked against the one before."""
    torch.manual_seed(0)
    mine, x, y = model(), torch.randn(256, 64), torch.randn(256, 8)
    bytes_before = size(mine)
    handle = prepare(mine, recipes.rowwise(), exclude=["3"])  # the last layer stays as it is
    print(handle.summary())
    optimizer = torch.optim.AdamW(mine.parameters(), lr=1e-3)
    for _ in range(int(steps)):
        loss = (mine(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    trained = mine.eval()(x)
    print(convert(mine, backend="reference"))
    assert torch.equal(mine(x), trained)  # deployed is what was trained, bit for bit
    print(f"{bytes_before} bytes in float32, {size(mine)} deployed")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.safetensors"
        save_fp8(mine, path)
        again = model().eval()
        load_fp8(again, path, backend="reference")
    assert torch.equal(again(x), trained)
    print("read back: equal")


def size(module: nn.Module) -> int:
    """Bytes of everything that a module stores."""
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


if __name__ == "__main__":
    main(*sys.argv[1:])
