"""Sensitivity, the error budget, per-layer noise and the post-training baseline."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import (
    Recipe,
    Spec,
    choose_layers,
    compare_with_ptq,
    convert,
    layer_sqnr,
    prepare,
    recipes,
    scan_sensitivity,
)


def fragile() -> nn.Sequential:
    """Layer 2 alone has an outlier that ruins a scale shared by a whole tensor."""
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    with torch.no_grad():
        model[2].weight[0, 0] = 3e4
        model[3].weight[:, 0] = 0.0
    return model


def test_the_scan_finds_the_fragile_layer_and_leaves_the_model_alone() -> None:
    model, x = fragile().train(), torch.randn(40, 64)
    before, types = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    result = scan_sensitivity(model, recipes.tensorwise(), [x])
    assert max(result.alone, key=result.alone.get) == "2"
    assert result.together >= 0.5 * max(result.alone.values())
    assert [type(m) for m in model.modules()] == types and model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "all 4 layers" in str(result)


def test_the_budget_is_kept_with_the_fewest_layers_left_out() -> None:
    model, x = fragile(), torch.randn(40, 64)
    everything = scan_sensitivity(model, recipes.tensorwise(), [x]).together
    loose = choose_layers(model, recipes.tensorwise(), [x], budget=2 * everything)
    assert loose.exclude == () and loose.error == everything
    rest = scan_sensitivity(model, recipes.tensorwise(), [x], exclude="2").together
    assert rest < 0.5 * everything
    tight = choose_layers(model, recipes.tensorwise(), [x], budget=1.01 * rest)
    assert tight.exclude == ("2",) and tight.error == pytest.approx(rest)
    expected = model(x)
    prepare(model, recipes.tensorwise(), exclude=tight.exclude)
    error = (model(x) - expected).norm() / expected.norm()
    assert error.item() == pytest.approx(tight.error, rel=1e-4)


def test_budgets_that_cannot_hold_are_refused() -> None:
    x = torch.randn(4, 64)
    with pytest.raises(ValueError, match=r"it must be above .* least costly layer"):
        choose_layers(fragile(), recipes.rowwise(), [x], budget=1e-9)
    with pytest.raises(ValueError, match=r"budget=0\.0; it must be a positive relative error"):
        choose_layers(fragile(), recipes.rowwise(), [x], budget=0.0)
    with pytest.raises(ValueError, match=r"batches=\[\]; there must be one"):
        scan_sensitivity(fragile(), recipes.rowwise(), [])


@pytest.mark.parametrize("name", ["static", "delayed"])
def test_recipes_with_state_are_calibrated_for_the_scan(name: str) -> None:
    result = scan_sensitivity(fragile(), recipes.by_name(name), [torch.randn(40, 64)])
    assert 0 < result.alone["0"] < 0.1


def test_layer_noise_is_measured_on_the_layers_own_input() -> None:
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), torch.randn(100, 64)
    model[1].requires_grad_(False)
    plain = copy.deepcopy(model)
    prepare(model, recipes.rowwise())
    found = layer_sqnr(model, [x[:50], x[50:]])
    noise = (plain[0](x) - model[0](x)).double().norm()
    expected = 20 * torch.log10(plain[0](x).double().norm() / noise)
    assert found["0"] == pytest.approx(expected.item(), abs=1e-3)
    assert found["1"] is None


def test_a_layer_that_starts_at_zero_is_measured_and_one_that_does_not_run_is_named() -> None:
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), torch.randn(9, 64)
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    prepare(model, recipes.rowwise())
    found = layer_sqnr(model, [x])
    assert 20 < found["0"] < 50 and found["1"] == float("inf")
    with pytest.raises(ValueError, match=r"layers without data=\['1'\]"):
        layer_sqnr(model, [x], run=lambda whole, batch: whole[0](batch))


def test_training_beats_quantizing_afterwards() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 16)
    y = torch.sin(2 * x[:, :4]) + x[:, 4:8]
    # E5M2 and one scale for everything: noise that training can do something about.
    spec = Spec(format="e5m2", granularity="tensor")
    recipe = Recipe(name="coarse", weight=spec, activation=spec)

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            return (model(x) - y).square().mean().item()

    def train(model: nn.Module, steps: int) -> nn.Module:
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(steps):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model

    plain = train(nn.Sequential(nn.Linear(16, 128), nn.GELU(), nn.Linear(128, 4)), 500)
    trained = copy.deepcopy(plain)
    prepare(trained, recipe)
    train(trained, 200)
    result = compare_with_ptq(plain, trained, score)
    assert result.high_precision < result.trained < result.post_training
    assert result.high_precision == score(plain)
    for figure in ("high precision", "post-training", "quantization-aware"):
        assert figure in str(result)
    convert(trained, backend="reference")
    assert compare_with_ptq(plain, trained, score).trained == result.trained


def test_the_baseline_refuses_what_it_cannot_compare() -> None:
    plain = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="quantized layers=0"):
        compare_with_ptq(plain, plain, lambda model: 0.0)
    trained = copy.deepcopy(plain)
    prepare(trained, recipes.static())
    with pytest.raises(ValueError, match="pass batches="):
        compare_with_ptq(plain, trained, lambda model: 0.0)
    with pytest.raises(ValueError, match=r"lacks=\['0'\]"):
        compare_with_ptq(nn.Identity(), trained, lambda model: 0.0)
