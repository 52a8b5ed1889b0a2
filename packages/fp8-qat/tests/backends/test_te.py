"""Transformer Engine: what it is asked for, checked with a stand-in that records the calls.

The real library needs a CUDA device; here its module names lead to a stand-in that keeps
the arguments, refuses what the real one refuses, and multiplies in high precision.
"""

import contextlib
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from fp8_qat import convert, prepare, recipes, sqnr, te_recipe, te_status
from fp8_qat.backends import te

CALLS: list[tuple[str, dict]] = []


def recipe_class(name: str, refuses: tuple[str, ...] = ()):
    def make(**arguments):
        assert not set(arguments) & set(refuses), f"{name} does not take {refuses}"
        return SimpleNamespace(kind=name, **arguments)

    return make


class StandInLinear(nn.Linear):
    def __init__(self, k, n, *, bias, params_dtype, device) -> None:
        super().__init__(k, n, bias=bias, dtype=params_dtype, device=device)
        CALLS.append(("Linear", {"k": k, "n": n, "bias": bias}))

    def forward(self, x):
        assert x.shape[0] % 16 == 0 and x.ndim == 2, "rows must be a multiple of 16"
        return super().forward(x)


@contextlib.contextmanager
def autocast(*, enabled, recipe):
    CALLS.append(("autocast", {"enabled": enabled, "recipe": recipe.kind}))
    yield


@pytest.fixture
def stand_in(monkeypatch) -> None:
    CALLS.clear()
    recipe = ModuleType("transformer_engine.common.recipe")
    recipe.Format = SimpleNamespace(E4M3="E4M3")
    recipe.QParams = lambda **arguments: SimpleNamespace(**arguments)
    recipe.DelayedScaling = recipe_class("DelayedScaling", ("backward_override",))
    for name in ("Float8CurrentScaling", "Float8BlockScaling", "MXFP8BlockScaling"):
        setattr(recipe, name, recipe_class(name))
    pytorch = ModuleType("transformer_engine.pytorch")
    pytorch.Linear, pytorch.autocast = StandInLinear, autocast
    modules = {"transformer_engine": ModuleType("transformer_engine")}
    modules["transformer_engine.common"] = ModuleType("transformer_engine.common")
    modules |= {"transformer_engine.common.recipe": recipe, "transformer_engine.pytorch": pytorch}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("name", "kind", "pow2"),
    [
        ("te_current", "Float8CurrentScaling", False),
        ("te_current_pow2", "Float8CurrentScaling", True),
        ("block", "Float8BlockScaling", True),
        ("block_fp32", "Float8BlockScaling", False),
        ("mxfp8", "MXFP8BlockScaling", None),
        ("delayed", "DelayedScaling", None),
    ],
)
def test_recipes_map_by_name(stand_in, name, kind, pow2) -> None:
    made = te_recipe(recipes.by_name(name))
    assert made.kind == kind and made.fp8_format == "E4M3"
    if pow2 is not None:
        assert made.fp8_quant_fwd_inp.power_2_scale is pow2
        assert made.fp8_quant_fwd_weight.power_2_scale is pow2
    if kind == "DelayedScaling":
        assert (made.amax_history_len, made.amax_compute_algo, made.margin) == (1024, "max", 0)
    else:
        assert made.backward_override == "high_precision"


REAL = """
from fp8_qat import recipes, te_recipe
for name in ("te_current", "te_current_pow2", "block", "block_fp32", "mxfp8", "delayed"):
    print(type(te_recipe(recipes.by_name(name))).__name__)
"""


@pytest.mark.skipif(find_spec("transformer_engine") is None, reason="Transformer Engine is missing")
def test_the_real_recipe_classes_take_our_arguments() -> None:
    # Its recipes import without CUDA while this is set; nothing else of it does.
    command = ["env", "NVTE_PROJECT_BUILDING=1", sys.executable, "-c", REAL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "Float8CurrentScaling",
        "Float8CurrentScaling",
        "Float8BlockScaling",
        "Float8BlockScaling",
        "MXFP8BlockScaling",
        "DelayedScaling",
    ]


@pytest.mark.parametrize(
    "name", ["rowwise", "tensorwise", "deepseek_block", "static", "mxfp8_floor"]
)
def test_recipes_that_transformer_engine_lacks_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no recipe that equals"):
        te_recipe(recipes.by_name(name))


def test_a_layer_keeps_its_names_and_pads_its_rows(stand_in, monkeypatch) -> None:
    monkeypatch.setattr(te, "te_status", lambda: te.Status(True, "stand-in"))
    monkeypatch.setattr(te, "_device_problem", lambda device: None)
    layer, x = nn.Linear(32, 48), torch.randn(2, 5, 32)
    names = {"weight", "bias", "weight_scale"}
    prepare(layer, recipes.te_current())
    weight = layer.quantized_weight()
    report = convert(layer, backend="te")
    assert report.layers[0].backend == "te"
    assert layer.state_dict().keys() == names
    expected = nn.functional.linear(x, weight.codes.float() * weight.scale, layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert CALLS[-1] == ("autocast", {"enabled": True, "recipe": "Float8CurrentScaling"})


def test_every_obstacle_is_named(stand_in) -> None:
    model = nn.Sequential(nn.Linear(33, 48), nn.Linear(48, 48))
    prepare(model, recipes.delayed())
    with pytest.raises(ValueError) as raised:
        convert(model, backend="te")
    text = str(raised.value)
    for part in ("0: its weight is 48 x 33", "1: Transformer Engine keeps delayed scales", "CUDA"):
        assert part in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_status_explains_the_absence() -> None:
    available, reason = te_status()
    assert not available and ("cannot be imported" in reason or "CUDA" in reason)


@pytest.mark.gpu
@pytest.mark.skipif(not te_status().available, reason="Transformer Engine cannot run here")
@pytest.mark.parametrize("name", ["te_current", "block"])
def test_transformer_engine_agrees_with_the_reference(name: str) -> None:
    layer = nn.Linear(256, 512).cuda().bfloat16()
    prepare(layer, recipes.by_name(name))
    x = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16)
    trained = layer.eval()(x)
    convert(layer, backend="te")
    assert sqnr(trained, layer(x)) > 40
