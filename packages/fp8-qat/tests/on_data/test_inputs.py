import copy

import pytest
import torch
from torch import nn

import fp8_qat
from fp8_qat import observed_inputs, prepare, recipes
from fp8_qat.on_data.inputs import ROWS


def model() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, 32), nn.Linear(32, 8))
    return made.requires_grad_(False)


def batches(count: int = 3) -> list[torch.Tensor]:
    ways = torch.randn(5, 48, generator=torch.Generator().manual_seed(3))
    return [torch.randn(4, 50, 5) @ ways + 0.1 * torch.randn(4, 50, 48) for _ in range(count)]


def test_moments_are_means_over_all_inputs_of_a_layer() -> None:
    net, given = model(), batches()
    with observed_inputs(net, include="0") as moments:
        for x in given:
            net(x)
    rows = torch.cat([x.flatten(0, 1) for x in given]).double()
    assert list(moments) == ["0"]
    expected = (rows.T @ rows / len(rows)).float()
    torch.testing.assert_close(moments["0"], expected, rtol=1e-4, atol=1e-4)


def test_moments_are_sums_of_float32_also_under_autocast() -> None:
    net, given = model(), batches()
    with observed_inputs(net, include="0") as moments, torch.autocast("cpu", torch.bfloat16):
        for x in given:
            net(x)
    rows = torch.cat([x.flatten(0, 1) for x in given])
    assert moments["0"].dtype == torch.float32
    torch.testing.assert_close(moments["0"], rows.T @ rows / len(rows), rtol=1e-4, atol=1e-4)


def test_of_many_rows_some_are_seen_evenly_spaced() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    x = torch.arange(2.0 * ROWS + 10)[:, None].expand(-1, 2).contiguous()
    with observed_inputs(net) as moments:
        net(x)
    torch.testing.assert_close(moments["0"][0, 0], x[::3, 0].square().mean())


def test_observation_ends_with_its_context_even_by_an_error() -> None:
    net = model()
    with pytest.raises(RuntimeError, match="on the way"), observed_inputs(net):
        raise RuntimeError("on the way")
    assert not any(layer._forward_pre_hooks for layer in net)


@pytest.mark.parametrize("frozen", ["auto", "keep"])
def test_a_model_prepared_for_its_inputs_answers_nearer(frozen: str) -> None:
    *given, new = batches(4)
    expected = model()(new)
    errors = []
    for fitted in (False, True):
        net = model()
        with observed_inputs(net) as moments:
            for x in given:
                net(x)
        prepare(net, recipes.weight_only(), frozen=frozen, moments=moments if fitted else None)
        errors.append(float((net(new) - expected).square().mean()))
    assert errors[1] < 0.3 * errors[0]


def test_deployed_layers_hold_the_codes_that_were_fitted() -> None:
    net, (x,) = model(), batches(1)
    with observed_inputs(net) as moments:
        net(x)
    handle = prepare(net, recipes.weight_only(), moments=moments)
    before, answer = fp8_qat.fixed_codes(net), net(x)
    assert list(before) == ["0.weight_codes", "2.weight_codes", "3.weight_codes"]
    held = {name: codes.clone() for name, codes in before.items()}
    assert len(handle.layers) == 3
    fp8_qat.convert(net, backend="reference")
    for name, codes in held.items():
        layer = net.get_submodule(name.split(".")[0])
        assert torch.equal(layer.quantized_weight().codes, codes)
    torch.testing.assert_close(net(x), answer)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("frozen", ["auto", "keep"])
def test_a_resumed_model_answers_as_the_one_that_was_not_interrupted(
    frozen: str, assign: bool
) -> None:
    net, (x,) = model(), batches(1)
    with observed_inputs(net) as moments:
        net(x)
    prepare(net, recipes.rowwise(), frozen=frozen, moments=moments)
    answer, saved = net(x), copy.deepcopy(net.state_dict())
    net.load_state_dict(saved, assign=assign)
    assert torch.equal(net(x), answer)
    other = {key: value * 2 + 0.01 for key, value in saved.items()}
    net.load_state_dict(other)
    nearest = fp8_qat.quantize(other["0.weight"], recipes.rowwise().weight)
    assert torch.equal(net[0].weight_bytes, nearest.bytes)


def test_what_trains_and_what_was_not_seen_is_rounded_to_the_nearest() -> None:
    net, nearest, (x,) = model(), model(), batches(1)
    net[2].weight.requires_grad_(True)
    with observed_inputs(net, include=["0", "2"]) as moments:
        net(x)
    prepare(net, recipes.rowwise(), moments=moments)
    prepare(nearest, recipes.rowwise())
    codes, plain = fp8_qat.fixed_codes(net), fp8_qat.fixed_codes(nearest)
    assert set(codes) == {"0.weight_codes", "3.weight_codes"}
    assert torch.equal(codes["3.weight_codes"], plain["3.weight_codes"])
    assert not torch.equal(codes["0.weight_codes"], plain["0.weight_codes"])
    assert torch.equal(net[2].quantized_weight().bytes, plain["2.weight_codes"].view(torch.uint8))


def test_moments_of_another_model_change_nothing() -> None:
    net = model()
    with pytest.raises(ValueError, match=r"must be floating point of shape \(48, 48\)"):
        prepare(net, recipes.rowwise(), moments={"0": torch.eye(3)})
    assert type(net[0]) is nn.Linear


def test_calls_with_and_without_inference_mode_add_up() -> None:
    net, (x,) = model(), batches(1)
    with observed_inputs(net) as wanted:
        net(x)
    with observed_inputs(net) as moments:
        with torch.inference_mode():
            net(x)
        net(x)
    torch.testing.assert_close(moments, wanted)
