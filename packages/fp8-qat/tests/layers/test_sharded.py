"""Layers whose weights FSDP2 spreads over processes, here one."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fp8_qat import prepare, recipes

distributed = pytest.importorskip("torch.distributed")


@pytest.fixture
def world() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def shard(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model, mesh=init_device_mesh("cpu", (1,)))


@pytest.mark.parametrize("frozen", ["auto", "keep", "none"])
def test_a_sharded_model_loads_weights_and_computes_with_them(world: None, frozen: str) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    model = nn.Sequential(nn.Linear(48, 32)).requires_grad_(False)
    prepare(model, recipes.rowwise(), frozen=frozen)
    other, x = copy.deepcopy(model), torch.randn(3, 48)
    state = {name: 1.5 * value for name, value in model.state_dict().items()}
    other.load_state_dict(state)
    shard(model)
    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(model, copy.deepcopy(state), options=options)
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("frozen", ["auto", "keep"])
def test_a_part_of_a_weight_is_not_quantized_once(world: None, frozen: str) -> None:
    model = shard(nn.Sequential(nn.Linear(48, 32)).requires_grad_(False))
    with pytest.raises(ValueError, match="before fully_shard, or with frozen='none'"):
        prepare(model, recipes.rowwise(), frozen=frozen)
    assert type(model[0]) is nn.Linear
