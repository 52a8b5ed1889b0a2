"""The optimizer of float32 masters: it learns, keeps its masters, and goes on where it stopped."""

import pytest
import torch

from distill import MasterOptimizer


def test_the_optimizer_lowers_a_loss_and_keeps_masters_in_float32() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    optimizer = MasterOptimizer(network, hidden=["0.weight"], muon_rate=0.05, adam_rate=0.02)
    network.bfloat16()
    x, y = torch.randn(64, 8).bfloat16(), torch.randn(64, 4).bfloat16()
    losses = []
    for _ in range(60):
        loss = (network(x) - y).float().square().mean()
        loss.backward()
        optimizer.step({n: p.grad.float() for n, p in network.named_parameters()}, 1.0)
        network.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(master.dtype == torch.float32 for master in optimizer.masters.values())
    assert not torch.equal(optimizer.averages["0.weight"], optimizer.masters["0.weight"])


def test_queries_keys_and_values_are_three_matrices_to_muon() -> None:
    network = torch.nn.ModuleDict({"qkv": torch.nn.Linear(6, 18, bias=False)})
    optimizer = MasterOptimizer(network, hidden=["qkv.weight"], weight_decay=0.0)
    before = optimizer.masters["qkv.weight"].clone()
    gradient = torch.randn(18, 6)
    gradient[6:12] *= 1e-3
    optimizer.step({"qkv.weight": gradient}, 1.0)
    steps = (optimizer.masters["qkv.weight"] - before).chunk(3)
    lengths = [float(step.norm()) for step in steps]
    assert min(lengths) > 0.5 * max(lengths)  # each has its own length, however small its slope


def test_a_state_of_another_network_is_refused() -> None:
    one = MasterOptimizer(torch.nn.Linear(3, 3), hidden=["weight"])
    other = MasterOptimizer(torch.nn.Linear(3, 3, bias=False), hidden=["weight"])
    with pytest.raises(ValueError, match="names must be those of the network"):
        other.load(one.state())


def made() -> tuple[torch.nn.Module, MasterOptimizer]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 18), torch.nn.Linear(18, 3))
    return network, MasterOptimizer(network, hidden=["0.weight"])


def stepped(network: torch.nn.Module, optimizer: MasterOptimizer, *seeds: int) -> None:
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        shapes = {n: p.shape for n, p in network.named_parameters()}
        gradients = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
        optimizer.step(gradients, 1.0)


def test_a_state_that_is_taken_up_goes_on_bit_equal() -> None:
    network, optimizer = made()
    stepped(network, optimizer, 1, 2)
    state = {name: value.clone() for name, value in optimizer.state().items()}
    stepped(network, optimizer, 3, 4)
    resumed, other = made()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1)  # what was there before does not matter
    other.load(state)
    assert other.steps == 2
    stepped(resumed, other, 3, 4)
    for one, two in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    assert all(torch.equal(v, other.state()[n]) for n, v in optimizer.state().items())


def test_one_state_can_be_taken_up_again_and_again() -> None:
    network, optimizer = made()
    states = [{n: v.clone() for n, v in optimizer.state().items()}]  # nothing has moved yet
    stepped(network, optimizer, 1)
    states.append({n: v.clone() for n, v in optimizer.state().items()})
    stepped(network, optimizer, 2)
    expected = {n: v.clone() for n, v in optimizer.state().items()}
    for begun, seeds in ((1, (2,)), (1, (2,)), (0, (1, 2))):
        optimizer.load(states[begun])
        stepped(network, optimizer, *seeds)
        found = optimizer.state()
        assert found.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_state_of_other_hidden_matrices_is_refused_before_anything_changes() -> None:
    network, optimizer = made()
    stepped(network, optimizer, 1)
    torch.manual_seed(0)
    other = MasterOptimizer(
        torch.nn.Sequential(torch.nn.Linear(6, 18), torch.nn.Linear(18, 3)), hidden=["1.weight"]
    )
    before = {n: v.clone() for n, v in other.state().items()}
    with pytest.raises(ValueError, match=r"muon.0.momentum_buffer=.*the same `hidden`"):
        other.load(optimizer.state())
    assert all(torch.equal(value, before[name]) for name, value in other.state().items())


def test_moments_of_other_matrices_of_one_shape_are_not_mixed_up() -> None:
    def square(hidden: str) -> MasterOptimizer:
        network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        return MasterOptimizer(network, hidden=[hidden])

    one, other = square("0.weight"), square("1.weight")
    one.step({name: torch.ones_like(master) for name, master in one.masters.items()}, 1.0)
    before = {n: v.clone() for n, v in other.state().items()}
    with pytest.raises(ValueError, match="of other `hidden` matrices"):
        other.load(one.state())
    with pytest.raises(ValueError, match=r"state=\['steps'\]; "):
        other.load({n: v for n, v in other.state().items() if n != "steps"})
    assert all(torch.equal(value, before[name]) for name, value in other.state().items())
    square("1.weight").load({n: v for n, v in before.items() if n != "hidden"})  # of before


@pytest.mark.parametrize(
    ("hidden", "match"),
    [
        (["0.wieght"], r"hidden=\['0.wieght'\]; .* closest names are '0.weight'"),
        ("0.weight", "they must name matrices of the network"),
        (["0.bias"], r"hidden=\['0.bias'\]; they must name matrices"),
        ([], "one matrix at least must train"),
        (["1.weight"], "one matrix at least must train"),
    ],
)
def test_hidden_matrices_that_are_not_there_are_refused(hidden, match) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(6, 18), torch.nn.Linear(18, 3))
    network[1].requires_grad_(False)
    with pytest.raises(ValueError, match=match):
        MasterOptimizer(network, hidden=hidden)
