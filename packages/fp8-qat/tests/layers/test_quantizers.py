"""Delayed and static scales: their state, calibration, casts and checkpoints."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import calibrate, convert, fake_quantize, load_fp8, prepare, recipes, save_fp8
from fp8_qat.layers.quantizers import DelayedQuantizer, StaticQuantizer
from fp8_qat.numerics.scales import Scale

PRODUCT = pytest.param("scaled_mm", marks=pytest.mark.multiplies)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(48, 80), nn.GELU(), nn.Linear(80, 32))


class PlainDelayed:
    """The published update written out with Python numbers in float32 steps."""

    def __init__(self, history: int, margin: int, most_recent: bool) -> None:
        self.history, self.margin, self.most_recent = [0.0] * history, margin, most_recent
        self.multiplier = 1.0

    def step(self, amax: float) -> None:
        if amax == 0.0:
            return
        self.history[0] = amax
        largest = amax if self.most_recent else max(self.history)
        self.history = [*self.history[1:], self.history[0]]
        self.history[0] = 0.0
        if 0.0 < largest < float("inf"):
            value = torch.tensor(448.0) / torch.tensor(largest) / 2.0**self.margin
            limit = torch.finfo(torch.float32).max
            self.multiplier = min(value.item(), limit)


@pytest.mark.parametrize("most_recent", [False, True])
@pytest.mark.parametrize("margin", [0, 2])
def test_delayed_scales_follow_the_published_update(most_recent: bool, margin: int) -> None:
    spec = recipes.delayed(history=5, margin=margin, most_recent=most_recent).activation
    ours, theirs = DelayedQuantizer(spec, "x"), PlainDelayed(5, margin, most_recent)
    for step in range(200):
        hard = {7: 0.0, 30: torch.inf, 31: 1e-45, 32: 3e38}
        amax = torch.tensor(hard.get(step, torch.rand(()).item() * 10))
        ours(amax.reshape(1, 1))
        theirs.step(amax.item())
        assert ours.multiplier.item() == theirs.multiplier, step
        assert ours.amax_history.tolist() == pytest.approx(theirs.history)


def test_a_delayed_step_uses_the_scale_of_past_steps() -> None:
    model, (first, second) = mlp(), torch.randn(2, 6, 48)
    prepare(model, recipes.delayed(history=4))
    quantizer = model[0].input_quantizer
    one = torch.ones(1, 1)  # no past at all
    assert torch.equal(
        quantizer(first), fake_quantize(first, quantizer.spec, scale=Scale(one, one))
    )
    assert quantizer.multiplier.item() == (torch.tensor(448.0) / first.abs().max()).item()
    scale = quantizer.current_scale()
    expected = fake_quantize(second * 9, quantizer.spec, scale=scale)
    assert torch.equal(quantizer(second * 9), expected)
    largest = (448 * scale.scale).item()
    assert expected.abs().max().item() == largest  # saturated where the past did not reach


def test_the_history_is_in_the_state_dict_as_plain_tensors() -> None:
    model = mlp()
    prepare(model, recipes.delayed(history=7))
    added = {k: tuple(v.shape) for k, v in model.state_dict().items() if "quantizer" in k}
    shapes = {"amax_history": (7,), "multiplier": (1, 1)}
    assert added == {
        f"{layer}.{operand}_quantizer.{key}": shape
        for layer in (0, 2)
        for operand in ("input", "weight")
        for key, shape in shapes.items()
    }


def test_a_step_of_nan_does_not_hold_the_delayed_scale() -> None:
    model = nn.Linear(8, 8)
    prepare(model, recipes.delayed())
    quantizer = model.input_quantizer
    model(torch.full((4, 8), 2.0))
    before = quantizer.amax_history.clone(), quantizer.multiplier.clone()
    model(torch.tensor([torch.nan, 1.0]).repeat(4, 4))
    assert torch.equal(quantizer.amax_history, before[0])
    assert torch.equal(quantizer.multiplier, before[1])
    model(torch.full((4, 8), 200.0))
    assert quantizer.multiplier == 448 / 200


def test_gradients_stop_where_a_delayed_scale_saturates() -> None:
    layer = nn.Linear(4, 3, bias=False)
    prepare(layer, recipes.delayed())
    layer.input_quantizer.set_amax(torch.tensor(2.0))
    layer.weight_quantizer.set_amax(torch.tensor(1.0))
    with torch.no_grad():
        layer.weight[1, 2] = 1.5
    x = torch.tensor([[0.5, 3.0, -2.5, 2.0]], requires_grad=True)
    (layer(x) * 1e-6).sum().backward()
    assert (x.grad == 0).tolist() == [[False, True, True, False]]
    assert (layer.weight.grad == 0).nonzero().tolist() == [[1, 2]]


def test_delayed_scales_stay_where_nothing_is_trained() -> None:
    model = mlp()
    handle = prepare(model, recipes.delayed(history=4))
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(6, 48)
    with torch.no_grad():
        model(x)
    model.eval()(x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.train()(x)
    moved = model.state_dict()["0.input_quantizer.multiplier"].clone()
    assert not torch.equal(moved, before["0.input_quantizer.multiplier"])
    handle.freeze_scales()
    model(x * 3)
    assert torch.equal(model.state_dict()["0.input_quantizer.multiplier"], moved)


def test_state_survives_a_cast_of_the_model() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    prepare(model, recipes.delayed(history=4))
    model(torch.randn(5, 48))
    history = model[2].input_quantizer.amax_history.clone()
    scale = model[0].weight_scale.clone()
    model.bfloat16()
    assert torch.equal(model[2].input_quantizer.amax_history, history)
    assert torch.equal(model[0].weight_scale, scale)
    assert model(torch.randn(5, 48).bfloat16()).dtype == torch.bfloat16
    convert(model, backend="reference")
    assert torch.equal(model.float()[0].weight_scale, scale)
    assert model[0].weight.dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("backend", ["reference", "weight_only", PRODUCT])
def test_a_deployed_layer_answers_the_same_while_what_is_before_it_trains(
    backend: str, tmp_path
) -> None:
    model, other, x = mlp(), mlp().train(), torch.randn(6, 48, requires_grad=True)
    prepare(model, recipes.delayed(history=4))
    model(x / 3)
    convert(model.train(), backend=backend)
    save_fp8(model, tmp_path / "delayed.safetensors")
    load_fp8(other, tmp_path / "delayed.safetensors", backend=backend)
    answer = copy.deepcopy(model).eval()(x)
    for _ in range(2):
        assert torch.equal(model(x), answer) and torch.equal(other(x), answer)


def test_a_resumed_delayed_model_goes_on_bit_for_bit() -> None:
    model, other = mlp(), mlp()
    for given in (model, other):
        prepare(given, recipes.delayed(history=4))
    batches = torch.randn(6, 9, 48)
    for x in batches[:3]:
        model(x)
    other.load_state_dict(model.state_dict())
    for x in batches[3:]:
        assert torch.equal(model(x), other(x))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in other.state_dict().items())


def test_static_scales_are_refused_before_calibration() -> None:
    model = mlp()
    prepare(model, recipes.static())
    with pytest.raises(
        ValueError, match="input of layer '0': static scale=nan; it must be calibrated"
    ):
        model(torch.randn(3, 48))


def test_static_calibration_covers_what_it_saw(tmp_path) -> None:
    model, plain = mlp(), mlp()
    plain.load_state_dict(model.state_dict())
    prepare(model, recipes.static())
    batches = [torch.randn(9, 48) for _ in range(4)]
    covered = calibrate(model, batches)
    assert covered["0.input_quantizer"] == max(x.abs().max().item() for x in batches)
    expected = fake_quantize(
        batches[0],
        recipes.static().activation,
        scale=model[0].input_quantizer.current_scale(),
    )
    assert (expected - batches[0]).norm() < 0.05 * batches[0].norm()
    trained = model.eval()(batches[0])
    convert(model, backend="reference")
    assert torch.equal(model(batches[0]), trained)
    save_fp8(model, tmp_path / "static.safetensors")
    load_fp8(plain, tmp_path / "static.safetensors", backend="reference")
    assert torch.equal(plain.eval()(batches[0]), trained)


def test_calibration_methods_are_ordered_on_outliers() -> None:
    x = torch.randn(100, 48)
    x[0, 0] = 3e4
    covered = {}
    for method in ("max", "percentile", "mse"):
        model = mlp()
        prepare(model, recipes.static())
        covered[method] = calibrate(model, [x], method=method, percentile=99.0)["0.input_quantizer"]
    assert covered["max"] == 3e4
    assert covered["percentile"] < 10
    assert covered["mse"] <= covered["max"]


@pytest.mark.parametrize("name", ["static", "delayed"])
def test_batches_without_rows_leave_scales_as_they_are(name: str) -> None:
    model, x, none = mlp(), torch.randn(6, 48), torch.empty(0, 48)
    prepare(model, recipes.by_name(name))
    other = copy.deepcopy(model)
    assert calibrate(model, [none, x, none], method="mse") == calibrate(other, [x], method="mse")
    before = copy.deepcopy(model.state_dict())
    assert model.train()(none).shape == (0, 32)
    quantizers = {key for key in before if "input_quantizer" in key}
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in quantizers)


def test_calibration_starts_delayed_scales() -> None:
    model = mlp()
    prepare(model, recipes.delayed())
    calibrate(model, [torch.full((2, 48), 0.25)])
    assert model[0].input_quantizer.multiplier.item() == 448 / 0.25


@pytest.mark.parametrize("name", ["static", "delayed"])
@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_calibration_refuses_what_no_scale_covers_and_sets_none(name: str, bad: float) -> None:
    model, x = mlp(), torch.randn(6, 48)
    prepare(model, recipes.by_name(name))
    before = copy.deepcopy(model.state_dict())
    x[3, 5] = bad
    with pytest.raises(ValueError, match=r"largest magnitude at .*=.*(nan|inf); it must be a fini"):
        calibrate(model, [torch.randn(6, 48), x])
    after = model.state_dict()
    assert all(torch.equal(after[k].nan_to_num(), v.nan_to_num()) for k, v in before.items())


def test_calibration_refuses_what_it_cannot_do() -> None:
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    model.forward = lambda x: model["used"](x)
    prepare(model, recipes.static())
    with pytest.raises(ValueError, match=r"quantizers without data=1 \(unused\.input_quantizer"):
        calibrate(model, [torch.randn(2, 4)])
    with pytest.raises(ValueError, match="choose one of max, percentile, mse"):
        calibrate(model, [torch.randn(2, 4)], method="best")
    other = nn.Linear(4, 4)
    prepare(other, recipes.rowwise())
    with pytest.raises(ValueError, match="static and delayed quantizers=0"):
        calibrate(other, [torch.randn(2, 4)])
    assert isinstance(model["used"].input_quantizer, StaticQuantizer)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "method"), [("delayed", "max"), ("static", "max"), ("static", "mse")]
)
def test_the_default_type_of_a_program_changes_no_scale(
    name: str, method: str, default: torch.dtype
) -> None:
    plain, x = mlp(), torch.randn(9, 48)

    def run() -> list[torch.Tensor]:
        model = copy.deepcopy(plain)
        prepare(model, recipes.by_name(name))
        calibrate(model, [x], method=method)
        steps = [model(x), model(3 * x), model(x)]
        convert(model, backend="reference")
        return [*steps, model(x), *model.buffers()]

    expected = run()
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        found = run()
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype and torch.equal(one.float(), other.float())
