"""Predicted times follow from what is counted: bytes, products, launches, and what is joined."""

import pytest
import torch
from torch import nn

from recon_eval.efficiency.devices import DEVICES
from recon_eval.efficiency.roofline import LAUNCH, REACHED, STREAMED, Steps, predict

H100 = DEVICES["H100"]


def steps_of(call: object, *shapes: tuple[int, ...]) -> list:
    tensors = [torch.empty(s, device="meta", dtype=torch.bfloat16) for s in shapes]
    with torch.no_grad(), Steps() as counted:
        call(*tensors)  # type: ignore[operator]
    return counted.steps


def test_a_large_product_takes_the_tensor_cores_time() -> None:
    n = 8192
    (step,) = steps_of(torch.matmul, (n, n), (n, n))
    assert step.flops == 2 * n**3
    found = predict([step], H100, compiled=False)
    assert found.seconds == pytest.approx(2 * n**3 / (REACHED * H100.bf16) + LAUNCH[False])
    assert predict([step], H100, compiled=False, fp8=True).seconds < 0.6 * found.seconds


def test_a_sum_takes_the_memorys_time() -> None:
    (step,) = steps_of(torch.add, (1 << 24,), (1 << 24,))
    found = predict([step], H100, compiled=False)
    moved = 3 * 2 * (1 << 24)
    assert found.bytes == moved
    expected = moved / H100.bytes_per_second / STREAMED + LAUNCH[False]
    assert found.seconds == pytest.approx(expected)


def test_a_compiler_reads_and_writes_a_chain_once() -> None:
    chain = steps_of(lambda x: ((x + 1) * 2).relu() @ x, (1024, 1024))
    compiled, eager = (predict(chain, H100, compiled=c) for c in (True, False))
    size = 2 * 1024**2
    assert (eager.launches, compiled.launches) == (4, 2)
    assert (eager.bytes, compiled.bytes) == ((6 + 3) * size, (2 + 3) * size)


def test_views_cost_nothing_and_expanded_axes_are_read_once() -> None:
    assert steps_of(lambda x: x.view(-1)[3:].reshape(-1), (64, 64)) == []
    (step,) = steps_of(lambda x, y: x + y.expand(64, 64), (64, 64), (1, 64))
    assert sum(step.reads.values()) == 2 * (64 * 64 + 64)


def test_a_network_costs_more_the_larger_it_is() -> None:
    times = []
    for width in (256, 512, 1024):
        net = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)).to("meta", torch.bfloat16)
        times.append(predict(steps_of(net, (10_000, width)), H100, compiled=True).seconds)
    assert times == sorted(times)


def test_every_device_names_its_source() -> None:
    assert set(DEVICES) == {"A100", "H100", "H200", "B200", "L4", "RTX 4090"}
    assert all(d.source and (d.fp8 is None or d.fp8 > d.bf16 > d.fp32) for d in DEVICES.values())
