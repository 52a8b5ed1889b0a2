"""Exit with 0 if compiled code gives the bytes of eager code on a CPU, and refuses what it refuses.

    python compiled.py float32          one recipe for each granularity, each of another scale rule
    python compiled.py bfloat16 all     every ready recipe, which takes minutes

A program of its own, because `torch.compile` cannot trace through the run-time type checks
that the tests put around every function.
"""

import copy
import sys
from functools import partial

import torch
from torch import Tensor, nn

from fp8_qat import Spec, calibrate, convert, fake_quantize, prepare, quantize, recipes
from fp8_qat.numerics.scales import Scale

NAMED = [recipes.by_name(name) for name in recipes.names()]
DYNAMIC = {spec.once() for r in NAMED for spec in (r.weight, r.activation) if spec is not None}
ALL = sorted(DYNAMIC, key=str)
SOME = [recipes.rowwise(), recipes.te_current(), recipes.block(), recipes.mxfp8()]
SPECS = ALL if "all" in sys.argv else [recipe.activation for recipe in SOME]
GIVEN = Spec(granularity="tensor", rule="multiply", mode="delayed")


def hard(dtype: torch.dtype) -> Tensor:
    x = torch.randn(130, 200) * torch.randn(200).exp()
    x[3], x[5, 7], x[6] = 0.0, 448.0, x[6] * 1e-30
    return x.to(dtype)


def check_bytes() -> None:
    def every_spec(x: Tensor, scale: Scale) -> list[Tensor]:
        results = [quantize(x, GIVEN, scale=scale).bytes, fake_quantize(x, GIVEN, scale=scale)]
        for spec in SPECS:
            quantized = quantize(x, spec)
            results += [quantized.bytes, quantized.scale, fake_quantize(x, spec)]
        return results

    compiled = torch.compile(every_spec, fullgraph=True)
    scale = Scale(torch.full((1, 1), 224.0), torch.full((1, 1), 1 / 224.0))
    x = hard(getattr(torch, sys.argv[1]))
    pairs = zip(every_spec(x, scale), compiled(x, scale), strict=True)
    for i, (ours, theirs) in enumerate(pairs):
        assert torch.equal(ours, theirs), SPECS[(i - 2) // 3] if i > 1 else GIVEN


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


def check_any_size() -> None:
    """Numbers that a format held as fields were symbols to the compiler, and ended it."""
    layer = prepare(nn.Linear(32, 16), recipes.rowwise()).model
    compiled = torch.compile(layer, backend="eager", dynamic=True, fullgraph=True)
    x = torch.randn(6, 32, requires_grad=True)
    assert torch.equal(compiled(x), layer(x))


def check_static() -> None:
    """What is not calibrated is refused in compiled code, too; what is has one graph."""
    model, x = nn.Sequential(nn.Linear(48, 32)).eval(), torch.randn(6, 48)
    prepare(model, recipes.static())
    try:
        torch.compile(model, backend="eager")(x)
    except ValueError as error:
        assert "input of layer '0': static scale=nan; it must be calibrated" in str(error)
    else:
        raise AssertionError("a scale of NaN was multiplied with")
    calibrate(model, [x])
    for given in (model, copy.deepcopy(model)):
        torch.compiler.reset()
        given.load_state_dict(model.state_dict())
        assert torch.equal(torch.compile(given, backend="eager", fullgraph=True)(x), model(x))


def check_delayed() -> None:
    """Gradients are those of the scales that a step began with, though it overwrites them."""
    model = nn.Sequential(nn.Linear(48, 80), nn.GELU(), nn.Linear(80, 32))
    prepare(model, recipes.delayed())
    torch.compiler.reset()
    pair = copy.deepcopy(model), model
    called = torch.compile(pair[0], fullgraph=True), model
    for size in (1, 4, 2):  # the second saturates
        x, found = size * torch.randn(6, 48), []
        for given, call in zip(pair, called, strict=True):
            call(x).square().sum().backward()
            found.append([*(p.grad for p in given.parameters()), *given.buffers()])
            given.zero_grad()
        for theirs, ours in zip(*found, strict=True):
            assert (ours - theirs).norm() <= 1e-5 * ours.norm(), size


def check_one_graph() -> None:
    """Layers that differ in nothing but name and values share their code: it is compiled once."""
    for backend in (None, "reference", "weight_only", "scaled_mm"):
        torch.compiler.reset()
        model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3))).bfloat16().eval()
        prepare(model, recipes.rowwise())
        if backend is not None:
            convert(model, backend=backend)
        graphs: list[object] = []
        keep = partial(_kept, graphs)
        for layer in model:
            layer.compile(backend=keep, fullgraph=True)
        with torch.no_grad():
            model(torch.randn(6, 64).bfloat16())
        assert len(graphs) == 1, (backend, len(graphs))


def _kept(graphs: list[object], module: torch.fx.GraphModule, _: object) -> object:
    graphs.append(module)
    return module.forward


if __name__ == "__main__":
    torch.manual_seed(0)
    check_one_graph()
    check_static()
    check_delayed()
    check_any_size()
    check_bytes()
    check_model()
