"""Processes find each other after any number of restarts, and never train alone by mistake."""

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed, nn

from distill import Sharding, join_processes, sharding_of
from distill.processes.launch import agree
from distill.processes.sharding import sharded, units
from distill.processes.world import World


def start(store, size, reached=None):
    """Run the agreement of all processes at once; return what each came to."""
    names = {}

    def run(rank):
        try:
            names[rank] = agree(store, rank, size, timeout_seconds=0.3 if reached else 20.0)
        except TimeoutError:
            names[rank] = None

    threads = [threading.Thread(target=run, args=(rank,)) for rank in reached or range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


@given(size=st.integers(1, 4), starts=st.integers(1, 3), data=st.data())
@settings(max_examples=8, deadline=None)
def test_every_start_agrees_on_a_name_of_its_own(size, starts, data):
    """Also in a store that holds what earlier starts, whole or broken off, left behind."""
    store, seen = distributed.HashStore(), set()
    for _ in range(starts):
        if size > 1 and data.draw(st.booleans()):
            start(store, size, reached=data.draw(st.sampled_from([[0], [size - 1]])))
        names = start(store, size)
        assert len(names) == size and len(set(names.values())) == 1
        assert not seen & set(names.values())
        seen |= set(names.values())


def test_a_process_that_does_not_come_is_waited_for_no_longer_than_said():
    assert start(distributed.HashStore(), 2, reached=[0]) == {0: None}
    assert start(distributed.HashStore(), 2, reached=[1]) == {1: None}


def test_a_process_without_a_launcher_stays_alone():
    join_processes()
    assert not distributed.is_initialized() and World.current() == World()


def test_a_launched_process_that_joined_nobody_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: True)
    with pytest.raises(ValueError, match=r"join_processes\(\)"):
        World.current()


class Part(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn, self.mlp = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.mlp(self.attn(self.norm(x)))


@pytest.fixture
def model():
    return nn.Sequential(*[Part(8) for _ in range(3)]).requires_grad_(False)


def test_units_are_as_large_as_allowed_and_hold_no_pair_inside(model):
    sharding = Sharding(smallest_unit=20, largest_unit=200)
    assert list(units(model, sharding, set())) == ["0", "1", "2"]
    assert list(units(model, sharding, {"1.attn"})) == ["0", "1.attn", "1.mlp", "2"]
    small = Sharding(smallest_unit=20, largest_unit=100)
    assert list(units(model, small, set())) == [
        f"{i}.{m}" for i in range(3) for m in ("attn", "mlp")
    ]
    model[0].attn.requires_grad_(True)
    assert next(units(model, small, set())) == "0"
    assert not list(units(model, Sharding(smallest_unit=500, largest_unit=500), {"2"}))


def test_one_process_shards_nothing(model):
    with sharded(model, Sharding(), {}) as same:
        assert same is model


def test_sizes_of_units_are_checked():
    with pytest.raises(ValueError, match="smallest_unit=9, largest_unit=8; 1 <="):
        Sharding(smallest_unit=9, largest_unit=8)


def accelerator(kind, plugin=None, **changes):
    """What an Accelerator says; a real one turns FSDP on only where there are GPUs."""
    says = {"mixed_precision": "no", "gradient_accumulation_steps": 1} | changes
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value=kind),
        state=SimpleNamespace(fsdp_plugin=plugin),
        **says,
    )


def test_what_an_accelerator_says_of_fsdp2_is_used():
    from accelerate import FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, reshard_after_forward=False)
    assert sharding_of(accelerator("FSDP", plugin)) == Sharding(reshard=False)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_offload=True)
    assert sharding_of(accelerator("FSDP", plugin)) == Sharding(offload=True)
    assert sharding_of(accelerator("MULTI_GPU")) is None


def test_what_the_loop_does_itself_is_refused_by_name():
    from accelerate import FullyShardedDataParallelPlugin

    with pytest.raises(ValueError, match=r"mixed_precision.*autocast"):
        sharding_of(accelerator("NO", mixed_precision="bf16"))
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps.*accumulation"):
        sharding_of(accelerator("NO", gradient_accumulation_steps=2))
    with pytest.raises(ValueError, match="distributed_type=DEEPSPEED; it is"):
        sharding_of(accelerator("DEEPSPEED"))
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, activation_checkpointing=True)
    with pytest.raises(ValueError, match="checkpoint_activations"):
        sharding_of(accelerator("FSDP", plugin))
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, mixed_precision_policy="bf16")
    with pytest.raises(ValueError, match="mixed_precision_policy"):
        sharding_of(accelerator("FSDP", plugin))
    plugin = SimpleNamespace(fsdp_version=1)
    with pytest.raises(ValueError, match="fsdp_version"):
        sharding_of(accelerator("FSDP", plugin))
