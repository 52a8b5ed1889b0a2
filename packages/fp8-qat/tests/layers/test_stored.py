"""Parameters kept as FP8: their modules compute as before, with rounded values."""

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fp8_qat import (
    convert,
    dequantized,
    fake_quantize,
    load_fp8,
    prepare,
    recipes,
    save_fp8,
    sqnr,
    store,
)


class Net(nn.Module):
    """A linear layer beside all that is not one."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 4, 4, 4))
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.seldom = nn.Linear(6, 6)
        self.linear = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.conv(x) + self.place)
        found: Tensor = self.linear(self.seldom(y.mean((-2, -1))))
        return found


NAMES = ("place", "conv.weight", "up.weight", "seldom.weight")


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def frozen(net: Net) -> Net:
    return net.requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def size(model: nn.Module) -> int:
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    return sum(t.numel() * t.element_size() for t in held)


def test_a_stored_parameter_takes_a_byte_a_value_and_is_used_rounded(
    frozen: Net, x: Tensor
) -> None:
    rounded, before = copy.deepcopy(frozen), size(frozen)
    told = store(frozen, NAMES)
    assert [one.name for one in told] == list(NAMES)
    for one in told:
        module, _, name = one.name.rpartition(".")
        owner = frozen.get_submodule(module)
        plain = rounded.get_submodule(module)
        assert owner.get_buffer(f"{name}_codes").dtype == torch.float8_e4m3fn
        assert getattr(owner, name).dtype == torch.float32
        assert 28 < one.sqnr_db == pytest.approx(sqnr(getattr(plain, name), getattr(owner, name)))
        getattr(plain, name).copy_(getattr(owner, name))
    assert before - size(frozen) == sum(one.bytes_before - one.bytes_after for one in told)
    assert torch.equal(frozen(x), rounded(x))
    assert isinstance(frozen.conv, nn.Conv2d)
    assert frozen.conv.bias.dtype == torch.float32


def test_training_rounds_what_will_be_stored_and_convert_keeps_it(net: Net, x: Tensor) -> None:
    prepare(net, recipes.rowwise(), include="linear")
    store(net, NAMES)
    before = net.conv._parameters["weight"].clone()
    net(x).square().mean().backward()
    for name, held in net.named_parameters():
        assert held.grad is not None, name
        assert held.grad.abs().max() > 0, name
    torch.optim.SGD(net.parameters(), 0.1).step()
    assert not torch.equal(net.conv._parameters["weight"], before)
    trained = net.eval()(x)
    report = convert(net, backend="reference")
    assert torch.equal(net(x), trained)
    assert [one.name for one in report.stored] == list(NAMES)
    assert "conv.weight  4 x 3 x 3 x 3  stored" in str(report)
    assert report.left == ()
    assert {n for n, _ in net.named_parameters()}.isdisjoint(NAMES)


def test_casting_the_model_casts_the_use_and_not_the_codes(frozen: Net, x: Tensor) -> None:
    store(frozen, NAMES)
    codes = frozen.conv.get_buffer("weight_codes").clone()
    wide = frozen(x)
    frozen.to(torch.bfloat16)
    assert frozen.conv.get_buffer("weight_codes").dtype == codes.dtype
    assert torch.equal(frozen.conv.get_buffer("weight_codes").float(), codes.float())
    assert frozen.conv.get_buffer("weight_scale").dtype == torch.float32
    assert frozen.conv.weight.dtype == frozen(x.bfloat16()).dtype == torch.bfloat16
    assert sqnr(wide, frozen(x.bfloat16()).float()) > 30


def test_gradients_pass_through_a_stored_module(frozen: Net, x: Tensor) -> None:
    store(frozen, NAMES)
    x.requires_grad_()
    frozen(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


def test_copies_are_their_own(frozen: Net, x: Tensor) -> None:
    store(frozen, NAMES)
    other = copy.deepcopy(frozen)
    other.conv.get_buffer("weight_scale").mul_(2)
    assert torch.equal(other.conv.weight, 2 * frozen.conv.weight)
    assert not torch.equal(other(x), frozen(x))


@pytest.mark.parametrize("trains", [False, True])
def test_a_model_with_stored_parameters_is_pickled_as_others_are(
    net: Net, x: Tensor, trains: bool
) -> None:
    net.requires_grad_(trains)
    store(net, NAMES)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert type(again.conv) is type(net.conv) and again.conv.stored == net.conv.stored
    assert torch.equal(again(x), net(x))


def test_what_was_saved_loads_and_computes_the_same(frozen: Net, x: Tensor, tmp_path: Path) -> None:
    prepare(frozen, recipes.rowwise(), include="linear")
    store(frozen, NAMES)
    convert(frozen, backend="reference")
    save_fp8(frozen, tmp_path / "net.safetensors")
    other = Net()
    report = load_fp8(other, tmp_path / "net.safetensors", backend="reference")
    assert torch.equal(other(x), frozen(x))
    assert {one.name for one in report.stored} == set(NAMES)
    lacking = Net()
    del lacking.up
    with pytest.raises(ValueError, match=r"missing \[\], extra .*up\.weight_codes"):
        load_fp8(lacking, tmp_path / "net.safetensors")


def test_a_file_with_damaged_scales_is_refused(frozen: Net, tmp_path: Path) -> None:
    prepare(frozen, recipes.rowwise(), include="linear")
    store(frozen, "conv.weight")
    convert(frozen, backend="reference")
    frozen.conv.get_buffer("weight_scale").zero_()
    save_fp8(frozen, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"conv\.weight_scale=0 to 0; it must hold positive"):
        load_fp8(Net(), tmp_path / "net.safetensors")


@pytest.mark.parametrize("names", ["nothing.*", ["conv.*", "conv.bias"]])
def test_a_pattern_that_matches_nothing_is_refused(frozen: Net, names: str | list[str]) -> None:
    with pytest.raises(ValueError, match="it must match a parameter of two axes"):
        store(frozen, names)
    assert type(frozen.conv) is nn.Conv2d


@pytest.mark.parametrize("prepared", ["keep", "none"])
def test_a_weight_that_is_quantized_already_is_refused_and_nothing_changes(
    frozen: Net, prepared: str
) -> None:
    prepare(frozen, recipes.rowwise(), include="linear", frozen=prepared)
    with pytest.raises(ValueError, match=r"names='linear\.weight'; it must not be of a layer that"):
        store(frozen, "*.weight")
    assert type(frozen.conv) is nn.Conv2d


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_module_that_computes_with_a_list_of_its_weights_is_refused(kind) -> None:
    model = nn.ModuleDict({"a": nn.Conv2d(3, 4, 3), "b": kind(4, 4)}).requires_grad_(False)
    with pytest.raises(ValueError, match=rf"names='b\.weight_ih_l0'; .* {kind.__name__}, which"):
        store(model, "*")
    assert type(model["a"]) is nn.Conv2d and type(model["b"]) is kind


@pytest.mark.parametrize(("option", "value"), [("sparse", True), ("max_norm", 1.0)])
def test_an_embedding_that_trains_past_rounding_is_refused_and_taken_frozen(option, value) -> None:
    model = nn.Sequential(nn.Embedding(20, 8, **{option: value}))
    with pytest.raises(ValueError, match=rf"names='0.weight'; .* an embedding with {option}="):
        store(model, "0.weight")
    store(model.requires_grad_(False), "0.weight")
    assert model(torch.arange(5)).shape == (5, 8)


def test_rows_without_a_value_are_refused_and_nothing_changes() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)
    model[1].weight = nn.Parameter(torch.empty(4, 0))
    with pytest.raises(ValueError, match=r"1\.weight: dtype=.* of shape \(4, 0\)"):
        store(model, "*.weight")
    assert [type(layer) for layer in model] == [nn.Linear, nn.Linear]


@pytest.mark.parametrize("name", ["static", "delayed"])
def test_a_spec_with_state_rounds_by_the_values_own_magnitude(frozen: Net, name: str) -> None:
    spec, before = recipes.by_name(name).activation, frozen.seldom.weight.clone()
    store(frozen, "seldom.weight", spec=spec)
    assert torch.equal(frozen.seldom.weight, fake_quantize(before, spec.once()))


def test_a_module_that_stands_in_two_places_is_saved_and_loaded(x: Tensor, tmp_path: Path) -> None:
    def make() -> nn.Module:
        conv = nn.Conv2d(3, 3, 3, padding=1)
        return nn.Sequential(conv, nn.ReLU(), conv, nn.Linear(4, 4)).requires_grad_(False)

    model, other = make(), make()
    store(model, "0.weight")
    prepare(model, recipes.rowwise())
    convert(model, backend="reference")
    save_fp8(model, tmp_path / "model.safetensors")
    load_fp8(other, tmp_path / "model.safetensors", backend="reference")
    assert other[0] is other[2] and torch.equal(other(x), model(x))


def test_tied_parameters_share_their_codes() -> None:
    twin = nn.ModuleDict({name: nn.Linear(6, 6, bias=False) for name in ("a", "b")})
    first, second = twin["a"], twin["b"]
    second.weight = first.weight
    store(twin.requires_grad_(False), "*.weight")
    codes = [one.get_buffer("weight_codes").data_ptr() for one in (first, second)]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("settled", [False, True])
def test_a_dequantized_copy_holds_plain_parameters_of_the_same_values(
    net: Net, settled: bool
) -> None:
    names = set(net.state_dict())
    net.requires_grad_(False)
    net.conv.requires_grad_(True)  # trains while it is stored
    store(net, NAMES)
    prepare(net, recipes.rowwise(), include=["linear"])
    if settled:
        convert(net, backend="weight_only")
    x = torch.randn(2, 3, 4, 4)
    plain = dequantized(net)
    assert type(plain) is Net and type(plain.conv) is nn.Conv2d and type(plain.seldom) is nn.Linear
    assert set(plain.state_dict()) == names
    if settled:
        torch.testing.assert_close(plain(x), net(x), rtol=0, atol=0)
    assert not hasattr(plain.conv, "stored") and hasattr(net.conv, "stored")
