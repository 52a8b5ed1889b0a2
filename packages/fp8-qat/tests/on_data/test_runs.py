"""Running a model on batches: what is kept meanwhile, and how outputs are compared."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fp8_qat import calibrate, layer_sqnr, observed_inputs, prepare, recipes
from fp8_qat.on_data import calibrate as calibration
from fp8_qat.on_data.runs import relative_error


class Watched(nn.Module):
    """A model that counts which of its outputs are still held when it is called again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.given, self.held = nn.Linear(8, 8), [], []

    def forward(self, x: Tensor) -> Tensor:
        self.held.append(sum(one() is not None for one in self.given))
        y = self.layer(x)
        self.given.append(weakref.ref(y))
        return y


@pytest.mark.parametrize("look", [calibrate, layer_sqnr])
def test_what_looks_inside_a_model_holds_no_outputs_of_past_batches(look: Callable) -> None:
    model = Watched()
    prepare(model, recipes.delayed())
    look(model, (torch.randn(2, 8) for _ in range(9)))
    assert len(model.held) == 9 and max(model.held) <= 1
    assert model.training


@pytest.mark.parametrize(("method", "kept"), [("max", 0), ("percentile", 3), ("mse", 3)])
def test_calibration_keeps_samples_only_for_a_method_that_looks_at_them(
    method: str, kept: int, monkeypatch
) -> None:
    sizes = []

    def choose(watcher, *given):
        sizes.append(len(watcher.samples))
        return real(watcher, *given)

    real = calibration._Watcher.choose
    monkeypatch.setattr(calibration._Watcher, "choose", choose)
    for recipe, expected in ((recipes.static(), kept), (recipes.delayed(), 0)):
        model = nn.Sequential(nn.Linear(8, 8))
        prepare(model, recipe)
        calibrate(model, torch.randn(3, 2, 8), method=method)
        assert set(sizes) == {expected}
        sizes.clear()


class ByName(nn.Module):
    """A model that names what it gives to its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=x)


def test_inputs_that_are_given_by_name_are_seen() -> None:
    model, x = ByName(), torch.randn(5, 8)
    with observed_inputs(model) as moments:
        model(x)
    torch.testing.assert_close(moments["layer"], x.T @ x / 5)
    prepare(model, recipes.static())
    assert calibrate(model, [x]) == {"layer.input_quantizer": float(x.abs().max())}
    assert 20 < layer_sqnr(model, [x])["layer"] < 50


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["expected", "given", "both"])
def test_outputs_that_are_no_numbers_are_infinitely_wrong(where: str, bad: float) -> None:
    right, wrong = torch.ones(3), torch.tensor([1.0, bad, 1.0])
    expected = [[right, wrong if where != "given" else right]]
    given = [[right, wrong if where != "expected" else right]]
    assert relative_error(expected, given) == float("inf")
    assert relative_error([[right, right]], [[right, right]]) == 0.0


def test_what_looks_at_data_finds_the_same_whatever_device_is_the_default() -> None:
    def found() -> list[float | None]:
        model = copy.deepcopy(plain)
        prepare(model, recipes.static())
        return [*calibrate(model, [x]).values(), *layer_sqnr(model, [x]).values()]

    plain, x = nn.Sequential(nn.Linear(8, 8)), torch.randn(4, 8)
    expected = found()
    torch.set_default_device("meta")  # a device without numbers stands in for a GPU
    try:
        assert found() == expected
    finally:
        torch.set_default_device(None)
