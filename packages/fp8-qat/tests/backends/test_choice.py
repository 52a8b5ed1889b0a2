"""What runs where no backend is named, and what devices multiply."""

import pytest
import torch
from torch import nn

from fp8_qat import convert, multiplies_bfloat16, multiplies_fp8, prepare, recipes
from fp8_qat.backends import Bfloat16WeightOnlyLinear, WeightOnlyLinear, choice


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_a_cpu_keeps_weights_in_fp8_and_says_why(native: bool, monkeypatch) -> None:
    monkeypatch.setattr(choice, "cpu_multiplies_bfloat16", lambda: native)
    model = mlp()
    prepare(model, recipes.rowwise())
    report = convert(model)
    assert report.backend == "weight_only"
    assert "because cpu multiplies no FP8: weights stay FP8" in str(report)
    assert ("in bfloat16" in report.why) == ("in bfloat16" in report.layers[0].note) == native
    (layer,) = {type(m) for m in model.modules() if isinstance(m, nn.Linear)}
    assert layer is (Bfloat16WeightOnlyLinear if native else WeightOnlyLinear)


def test_auto_rounds_no_activation_that_training_did_not_round(monkeypatch) -> None:
    monkeypatch.setattr(choice, "cpu_multiplies_bfloat16", lambda: True)
    model, x = mlp(), torch.randn(5, 48)
    prepare(model, recipes.weight_only())
    trained = model.eval()(x)
    assert "bfloat16" not in convert(model).why
    assert torch.equal(model(x), trained)


@pytest.fixture
def hopper(monkeypatch) -> None:
    monkeypatch.setattr(choice, "_device", lambda layer: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.mark.parametrize("prepared", [False, True])  # as convert and load_fp8 have them
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_auto_multiplies_rows_where_they_are_bfloat16(dtype, prepared: bool, hopper) -> None:
    chosen = {}
    for name in ("rowwise", "static", "tensorwise"):
        layer, recipe = nn.Linear(48, 32).to(dtype), recipes.by_name(name)
        if prepared:
            prepare(layer, recipe)
        chosen[name] = choice.choose("auto", {"fc": (layer, recipe)})
        assert choice.choose("scaled_mm", {"fc": (layer, recipe)}).kind.backend == "scaled_mm"
    covered = dtype == torch.bfloat16
    rows = "scaled_mm" if covered else "weight_only"
    assert [one.kind.backend for one in chosen.values()] == [rows, rows, "scaled_mm"]
    assert covered or f"fc: dtype={dtype}; it must be bfloat16" in chosen["static"].why


@pytest.mark.parametrize("inside", [torch.bfloat16, torch.float16])
def test_auto_looks_at_the_dtype_of_the_autocast_it_is_called_in(
    inside, hopper, monkeypatch
) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: inside)
    layers = {"fc": (nn.Linear(48, 32), recipes.rowwise())}
    backend = "scaled_mm" if inside == torch.bfloat16 else "weight_only"
    assert choice.choose("auto", layers).kind.backend == backend


def test_auto_is_the_product_where_a_device_multiplies_fp8(monkeypatch) -> None:
    monkeypatch.setattr(choice, "_device", lambda layer: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    model, blocks = mlp().bfloat16(), mlp()
    prepare(model, recipes.rowwise())
    prepare(blocks, recipes.block())

    def chosen(given: nn.Module) -> choice.Chosen:
        return choice.choose("auto", {"0": (given[0], given[0].recipe)})

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert chosen(model).kind.backend == "scaled_mm"
    assert chosen(blocks).kind is WeightOnlyLinear and "scales blocks" in chosen(blocks).why
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert chosen(model).kind is WeightOnlyLinear and "A100 (sm_80)" in chosen(model).why


@pytest.mark.parametrize(
    ("capability", "half", "fp8"),
    [((7, 5), False, False), ((8, 0), True, False), ((8, 9), True, True), ((12, 0), True, True)],
)
def test_gpus_multiply_bfloat16_from_sm_80_and_fp8_from_sm_89(
    capability, half: bool, fp8: bool, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    device = torch.device("cuda")
    assert (multiplies_bfloat16(device), multiplies_fp8(device)) == (half, fp8)
