"""Transformer Engine: the recipes asked of it, what is refused, and the layer around it."""

import contextlib
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import nn

from fp8_qat import convert, prepare, recipes, sqnr, te_recipe, te_status
from fp8_qat.backends import te


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
def test_recipes_map_by_name(name, kind, pow2) -> None:
    made, arguments, powers = te._mapping(recipes.by_name(name))
    assert (made, powers) == (kind, pow2)
    if kind == "DelayedScaling":  # the one recipe that has no backward_override
        assert arguments == {"amax_history_len": 1024, "amax_compute_algo": "max", "margin": 0}
    else:
        assert arguments == {"backward_override": "high_precision"}


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
    with pytest.raises(
        ValueError, match="must equal one of Transformer Engine's, and none does: prepare with"
    ):
        te_recipe(recipes.by_name(name))


@pytest.mark.parametrize("bias", [True, False])
def test_our_layer_pads_rows_runs_under_the_recipe_and_keeps_its_names(monkeypatch, bias) -> None:
    entered, rows = [], []

    class StandIn(nn.Linear):  # takes what the real one takes, and multiplies as PyTorch does
        def __init__(self, k, n, *, bias, params_dtype, device) -> None:
            super().__init__(k, n, bias=bias, dtype=params_dtype, device=device)

        def forward(self, x):
            rows.append(x.shape)
            return super().forward(x)

    @contextlib.contextmanager
    def autocast(*, enabled, recipe):
        entered.append((enabled, recipe))
        yield

    engine = ModuleType("transformer_engine.pytorch")
    engine.Linear, engine.autocast = StandIn, autocast
    monkeypatch.setitem(sys.modules, "transformer_engine", ModuleType("transformer_engine"))
    monkeypatch.setitem(sys.modules, "transformer_engine.pytorch", engine)
    monkeypatch.setattr(te, "te_status", lambda: te.Status(True, "stand-in"))
    monkeypatch.setattr(te, "te_recipe", lambda recipe: recipe.name)
    monkeypatch.setattr(te, "_device_problem", lambda device: None)
    layer, x = nn.Linear(32, 48, bias=bias), torch.randn(2, 5, 32)
    prepare(layer, recipes.te_current())
    weight = layer.quantized_weight()
    convert(layer, backend="te")
    assert layer.state_dict().keys() == {"weight", "weight_scale"} | ({"bias"} if bias else set())
    expected = nn.functional.linear(x, weight.codes.float() * weight.scale, layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert rows == [(16, 32)] and entered == [(True, "te_current")]


def test_every_obstacle_is_named() -> None:
    model = nn.Sequential(nn.Linear(33, 48), nn.Linear(48, 48))
    prepare(model, recipes.delayed())
    with pytest.raises(ValueError) as raised:
        convert(model, backend="te")
    text = str(raised.value)
    for part in ("0: weight=48 x 33", "1: recipe='delayed'; it must not be delayed", "CUDA"):
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
