"""A layer owns in every state what the table says, and nothing else stays behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from fp8_qat import convert, prepare, recipes, store
from fp8_qat.layers.states import FP8, FROZEN, LINEAR, QUANT, RELEASED, STATES, become, state_of

FROZEN_CHOICE = {"quant": "none", "frozen": "keep", "released": "auto"}
any_bias = pytest.mark.parametrize("bias", [True, False])


def layer_in(name: str, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(48, 32, bias=bias).requires_grad_(False)
    if name != "linear":
        prepare(layer, recipes.delayed(), frozen=FROZEN_CHOICE.get(name, "keep"))
    if name == "fp8":
        convert(layer, backend="reference")
    return layer


def owned(layer: nn.Linear) -> dict[str, str]:
    """What a layer really holds, read from its insides; buffers by whether they are saved."""
    unsaved = layer._non_persistent_buffers_set
    found = dict.fromkeys(layer._parameters, "parameter")
    found |= {name: "unsaved" if name in unsaved else "saved" for name in layer._buffers}
    besides = {*layer._modules, *vars(layer)} - vars(nn.Linear(1, 1)).keys()
    return found | dict.fromkeys(besides, "besides")


@any_bias
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_layer_owns_what_the_table_says(state, bias: bool) -> None:
    layer = layer_in(state.name, bias)
    assert state_of(layer) is state
    assert owned(layer) == state.owned


@any_bias
@pytest.mark.parametrize("name", ["quant", "frozen", "released"])
def test_nothing_stays_behind_on_the_way_back(name: str, bias: bool) -> None:
    layer = nn.Linear(48, 32, bias=bias).requires_grad_(False)
    fresh, parameters = copy.deepcopy(layer), dict(layer.named_parameters())
    handle = prepare(layer, recipes.rowwise(), frozen=FROZEN_CHOICE[name])
    handle.undo(released="dequantize")
    assert type(layer) is nn.Linear and owned(layer) == owned(fresh)
    assert list(layer.state_dict()) == list(fresh.state_dict())
    kept = {"bias"} if name == "released" else {"weight", "bias"}
    for key in kept & parameters.keys():  # what an optimizer holds is still what is trained
        assert getattr(layer, key) is parameters[key]


def test_a_state_cannot_be_entered_without_what_it_owns_and_nothing_changes() -> None:
    layer = layer_in("frozen")
    before, kind = owned(layer), type(layer)
    with pytest.raises(ValueError, match=r"state 'released' also needs \['like'\]"):
        become(layer, RELEASED)
    with pytest.raises(ValueError, match=r"does not own \['like'\]"):
        become(layer, LINEAR, like=torch.empty(0))
    assert owned(layer) == before and type(layer) is kind
    become(layer, RELEASED, like=torch.empty(0))
    assert state_of(layer) is RELEASED


@pytest.mark.parametrize("state", STATES[1:], ids=lambda state: state.name)
def test_a_model_on_the_meta_device_takes_what_is_assigned_to_it(state) -> None:
    layer, x = layer_in(state.name).eval(), torch.randn(3, 48)
    empty = layer_in(state.name).eval().to("meta")
    empty.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(empty(x), layer(x))
    assert all(held.device == x.device for name, held in empty.state_dict().items())
    empty.bfloat16()
    assert empty(x.bfloat16()).dtype == torch.bfloat16


def test_a_deployed_layer_stays_deployed() -> None:
    with pytest.raises(ValueError, match="a deployed layer stays deployed"):
        become(layer_in("fp8"), QUANT)


def test_a_layer_whose_class_was_changed_is_refused_and_not_converted() -> None:
    layer = layer_in("quant")
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    with pytest.raises(ValueError, match=r"layer=ParametrizedQuantLinear; it must be an nn.Linear"):
        convert(layer, backend="reference")
    parametrize.remove_parametrizations(layer, "weight")
    convert(layer, backend="reference")
    assert state_of(layer) is FP8


@pytest.mark.parametrize("name", ["quant", "frozen"])
def test_a_layer_whose_weight_a_hook_makes_is_refused_until_that_is_permanent(name: str) -> None:
    model, x = nn.Sequential(nn.Linear(48, 48), nn.Linear(48, 32)), torch.randn(3, 48)
    model.requires_grad_(name == "quant")
    handle = prepare(model, recipes.rowwise(), frozen="keep")
    prune.l1_unstructured(model[1], "weight", amount=0.5)
    for change in (handle.undo, lambda: convert(model, backend="reference")):
        with pytest.raises(ValueError, match=r"weight of layer '1': hooks=1; it must be a param"):
            change()
    assert [state_of(model[0]).name, type(model[1]).__name__] == [name, type(model[0]).__name__]
    prune.remove(model[1], "weight")
    handle.undo()
    assert model(x).shape == (3, 32)


def test_nothing_is_undone_where_one_layer_cannot_be() -> None:
    model = nn.Sequential(nn.Linear(48, 48), nn.Linear(48, 32))
    handle = prepare(model, recipes.rowwise())
    parametrize.register_parametrization(model[1], "weight", nn.Identity())
    with pytest.raises(ValueError, match="layer=ParametrizedQuantLinear"):
        handle.undo()
    assert state_of(model[0]) is QUANT


def test_an_optimizer_trains_the_same_parameters_after_prepare() -> None:
    layer = nn.Linear(48, 32)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    prepare(layer, recipes.rowwise())
    before = layer.weight.detach().clone()
    layer(torch.randn(3, 48)).sum().backward()
    optimizer.step()
    assert not torch.equal(layer.weight, before)
    assert state_of(layer) is not FROZEN


def test_codes_follow_a_weight_that_another_module_loaded_first() -> None:
    """The embedding and the head share it, and the embedding stands first in the state dict."""

    def made() -> nn.Sequential:
        net = nn.Sequential(nn.Embedding(32, 16), nn.Linear(16, 32, bias=False))
        net[1].weight = net[0].weight
        return net.requires_grad_(False)

    net, other = made(), made()
    prepare(net, recipes.weight_only(), include="1", frozen="keep")
    net.load_state_dict(other.state_dict())
    off = (net[1].dequantized_weight() - other[1].weight).norm() / other[1].weight.norm()
    assert off < 0.1
    codes = net[1].weight_bytes.clone()
    net.load_state_dict(other.state_dict())
    assert torch.equal(net[1].weight_bytes, codes)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("backend", ["reference", "weight_only", "scaled_mm"])
def test_a_deployed_layer_refuses_weights_that_are_no_codes(backend: str, assign: bool) -> None:
    net, x = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32)), torch.randn(4, 32)
    plain = {name: p.detach().clone() for name, p in net.named_parameters()}
    prepare(net, recipes.rowwise())
    convert(net, backend=backend)
    before = net(x)
    with pytest.raises(RuntimeError, match=r"weight of layer '1': dtype=torch.float32; it must be"):
        net.load_state_dict({"1.weight": plain["1.weight"]}, strict=False, assign=assign)
    assert torch.equal(net(x), before)
    net.load_state_dict(net.state_dict(), assign=assign)
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("moved", [False, True])
def test_a_kept_weight_has_its_codes_again_after_a_time_without_memory(moved: bool) -> None:
    layer, x = layer_in("frozen").eval(), torch.randn(3, 48)
    weights, answer = copy.deepcopy(layer.state_dict()), layer(x)
    (layer.to("meta") if moved else layer).to_empty(device="cpu")
    layer.weight_bytes.fill_(0)
    layer.load_state_dict(weights)
    assert torch.equal(layer(x), answer)
    layer.to("meta").load_state_dict(weights, assign=True)
    assert torch.equal(layer(x), answer)


@pytest.mark.parametrize("name", ["frozen", "released", "fp8"])
def test_module_type_leaves_codes_alone(name: str) -> None:
    layer, x = layer_in(name).eval(), torch.randn(3, 48)
    answer = layer(x)
    assert torch.equal(layer.type(torch.float32)(x), answer)


@pytest.mark.parametrize("frozen", ["auto", "keep"])
def test_what_is_made_under_inference_mode_can_be_loaded_into_and_trained_with(frozen: str) -> None:
    model = nn.Sequential(nn.Linear(48, 48), nn.Linear(48, 48)).requires_grad_(False)
    x = torch.randn(3, 48, requires_grad=True)
    with torch.inference_mode():
        store(model, "0.weight")
        prepare(model, recipes.rowwise(), include="1", frozen=frozen)
        state = model.state_dict()
        model.load_state_dict(state | {"1.weight": 2 * state["1.weight"]})
    model(x).sum().backward()
    with torch.inference_mode():
        convert(model, backend="reference")
    model.load_state_dict(model.state_dict())
    model(x).sum().backward()
    assert x.grad is not None
