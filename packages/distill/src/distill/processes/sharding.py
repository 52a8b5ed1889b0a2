"""Spread what does not train over the processes, by PyTorch's `fully_shard` (FSDP2).

Each process holds its share of every frozen weight; a unit of weights is gathered when its
module runs, and let go afterwards. What trains is small in partial distillation and stays whole
in every process, and with it the optimizer, the average and the checkpoints: they are the same
with and without sharding.

Units never nest, and none holds a paired module inside: a gradient that enters at a recorded
tensor then always enters at the end of a unit, which is where its weights are gathered again.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from distill.processes.world import World
from distill.record.settings import check_number
from distill.trainable.buffers import Buffers


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How the frozen weights are spread.

    - `smallest_unit`: modules with fewer frozen values stay whole.
    - `largest_unit`: modules with more are split into their parts, where they have parts.
    - `reshard`: let a unit's weights go after its forward pass; False keeps them gathered until
      its backward.
    - `offload`: keep each share in the memory of the CPU while it is not needed.

    Raises ValueError if the sizes are not in order.
    """

    smallest_unit: int = 2**14
    largest_unit: int = 2**24
    reshard: bool = True
    offload: bool = False

    def __post_init__(self) -> None:
        for name in ("smallest_unit", "largest_unit"):
            check_number(name, getattr(self, name), whole=True)
        if not 1 <= self.smallest_unit <= self.largest_unit:
            raise ValueError(
                f"smallest_unit={self.smallest_unit}, largest_unit={self.largest_unit}; "
                "1 <= smallest_unit <= largest_unit must hold: give them in order"
            )


@contextmanager
def sharded(
    model: nn.Module,
    sharding: Sharding | None,
    trained: Mapping[str, nn.Parameter],
    paired: Iterable[str] = (),
) -> Iterator[nn.Module]:
    """Give a sharded twin of a model for the length of a block, or the model itself.

    The twin has the very parameters that train in the model, on the device of the processes;
    its frozen weights are spread. The model itself should wait on the CPU: it stays whole.
    Afterwards the model's trained parameters are where they were, with the values that the
    twin gave them, and so are the buffers that changed.

    - `model`: whole, and the same in every process.
    - `sharding`: none, or a world of one, gives the model itself.
    - `trained`: the parameters that stay whole, by name.
    - `paired`: names of modules whose tensors are recorded.

    Raises ValueError if there is nothing to spread.
    """
    world = World.current()
    if sharding is None or world.size == 1:
        yield model
        return
    devices = {name: parameter.device for name, parameter in trained.items()}
    twin = copy.deepcopy(model, {id(p): p for p in trained.values()})
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(name in trained)
    _spread(twin, sharding, set(trained.values()), set(paired), world)
    buffers = Buffers(twin)
    try:
        yield twin
    finally:
        Buffers(model).restore(buffers.changed(), buffers.unsaved())
        for name, parameter in trained.items():
            parameter.data = parameter.data.to(devices[name])


def _spread(
    model: nn.Module,
    sharding: Sharding,
    trained: set[nn.Parameter],
    paired: set[str],
    world: World,
) -> None:
    # imported here, since it takes half a second that other runs do not need
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    first = {module: name for name, module in model.named_modules()}  # one may have several
    chosen = list(units(model, sharding, {first[model.get_submodule(name)] for name in paired}))
    if not chosen:
        raise ValueError(
            f"smallest_unit={sharding.smallest_unit}; no module of {type(model).__name__} has as "
            "many frozen values, there is nothing to shard: lower it, or leave sharding out"
        )
    for name in chosen:
        fully_shard(
            model.get_submodule(name),
            mesh=mesh,
            reshard_after_forward=sharding.reshard,
            offload_policy=CPUOffloadPolicy() if sharding.offload else OffloadPolicy(),
            ignored_params=trained,
        )
    if not sharding.offload:
        model.to(world.device)


def units(model: nn.Module, sharding: Sharding, paired: set[str]) -> Iterator[str]:
    """Return the names of the modules to shard: as large as allowed, none inside another."""
    waiting = [(name, module) for name, module in reversed(list(model.named_children()))]
    while waiting:
        name, module = waiting.pop()
        parts = [(f"{name}.{part}", child) for part, child in module.named_children()]
        size = sum(p.numel() for p in module.parameters() if not p.requires_grad)
        holds_pair = any(other.startswith(f"{name}.") for other in paired)
        container = type(module).forward is nn.Module.forward
        if holds_pair or container or (size > sharding.largest_unit and parts):
            waiting += reversed(parts)
        elif size >= sharding.smallest_unit:
            yield name
