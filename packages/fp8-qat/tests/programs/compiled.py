"""Exit with 0 if compiled code gives the bytes of eager code.

A program of its own, because `torch.compile` cannot trace through the run-time type checks
that the tests put around every function.
"""

import torch
from torch import Tensor, nn

from fp8_qat import fake_quantize, prepare, quantize, recipes

NAMES = ["rowwise", "mxfp8"]


def hard(dtype: torch.dtype) -> Tensor:
    x = torch.randn(200, 300) * torch.randn(300).exp()
    x[3], x[5, 7], x[6] = 0.0, 448.0, x[6] * 1e-30
    return x.to(dtype)


def check_bytes() -> None:
    def all_recipes(x: Tensor) -> list[Tensor]:
        results = []
        for name in NAMES:
            spec = recipes.by_name(name).activation
            quantized = quantize(x, spec)
            results += [quantized.bytes, quantized.scale, fake_quantize(x, spec)]
        return results

    compiled = torch.compile(all_recipes, fullgraph=True)
    for dtype in (torch.float32, torch.bfloat16):
        x = hard(dtype)
        for i, (ours, theirs) in enumerate(zip(all_recipes(x), compiled(x), strict=True)):
            assert torch.equal(ours, theirs), (dtype, NAMES[i // 3], i % 3)


def check_model() -> None:
    model = nn.Sequential(nn.Linear(48, 80), nn.ReLU(), nn.Linear(80, 32))
    model[0].requires_grad_(False)
    prepare(model, recipes.rowwise())
    x = torch.randn(6, 48, requires_grad=True)
    results = []
    for given in (model, torch.compile(model, fullgraph=True)):
        y = given(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, model[2].weight])))
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * ours.norm()


if __name__ == "__main__":
    torch.manual_seed(0)
    check_bytes()
    check_model()
