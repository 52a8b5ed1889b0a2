"""Predicted times follow from what is counted: bytes, products, launches, and what is joined."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from recon_eval.efficiency.counting import Again, Step, Steps
from recon_eval.efficiency.devices import DEVICES, Device
from recon_eval.efficiency.roofline import EAGER, GAP, HELD, REACHED, STREAMED, predict

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
    assert found.seconds == pytest.approx(2 * n**3 / (REACHED * H100.bf16) + GAP)
    assert predict([step], H100, compiled=False, fp8=True).seconds < 0.6 * found.seconds


def test_a_sum_takes_the_memorys_time() -> None:
    (step,) = steps_of(torch.add, (1 << 24,), (1 << 24,))
    found = predict([step], H100, compiled=False)
    moved = 3 * 2 * (1 << 24)
    assert found.bytes == moved
    expected = moved / H100.bytes_per_second / STREAMED + GAP
    assert found.seconds == pytest.approx(expected)


def test_a_compiler_reads_and_writes_a_chain_once() -> None:
    chain = steps_of(lambda x: ((x + 1) * 2).relu() @ x, (1024, 1024))
    compiled, eager = (predict(chain, H100, compiled=c) for c in (True, False))
    size = 2 * 1024**2
    assert (eager.launches, compiled.launches) == (4, 2)
    assert (eager.bytes, compiled.bytes) == ((6 + 3) * size, (2 + 3) * size)


def test_short_kernels_wait_for_the_host_unless_a_graph_holds_them() -> None:
    steps = steps_of(lambda x: [x + i for i in range(100)], (64,))
    alone, captured = (predict(steps, H100, compiled=False, captured=c) for c in (False, True))
    assert alone.seconds == alone.host_seconds == pytest.approx(100 * EAGER)
    assert captured.seconds == captured.device_seconds == alone.device_seconds
    assert captured.seconds < 1.5 * 100 * GAP


LIBRARY = torch.library.Library("roofline_test", "FRAGMENT")
LIBRARY.define("twice(Tensor x) -> Tensor")
LIBRARY.impl("twice", lambda x: x + x, "CompositeExplicitAutograd")
LIBRARY.define("launch(str kernel, Tensor[] tensors, int[] lengths) -> ()")
LIBRARY.impl("launch", lambda *_: None, "CompositeExplicitAutograd")


def test_a_compiler_joins_nothing_inside_an_operator() -> None:
    ops = torch.ops.roofline_test

    def body(x: torch.Tensor) -> torch.Tensor:
        ops.launch("sum", [x, x], [])
        ops.launch("product", [x], [7, 11])
        return (x + 1) + 1

    x = torch.empty(64, device="meta", dtype=torch.bfloat16)
    bodies, kernels = (
        {ops.twice.default: body},
        {"product": lambda tensors, lengths: (lengths[0], (Again(bytes=3, table=2),), lengths[1])},
    )
    with Steps(bodies=bodies, launch=ops.launch.default, kernels=kernels) as counted:
        ops.twice(ops.twice(x))
    assert [s.name for s in counted.steps] == [
        "sum",
        "product",
        "aten.add.Tensor",
        "aten.add.Tensor",
    ] * 2
    assert [(s.moved, s.read_again, s.flops) for s in counted.steps[:2]] == [
        (256, 0, 0),
        (7, 3, 11),
    ]
    found, cached = (predict(counted.steps, H100, compiled=True, cached=c) for c in (False, True))
    assert found.bytes - cached.bytes == 2 * 3
    assert found.launches == 8 and found.host_seconds == pytest.approx(8 * EAGER)


def test_a_cache_serves_what_it_holds_and_small_tables_first() -> None:
    """Beyond half of the cache rows come from memory; without one all of them do."""
    many, room = 10**9, int(HELD * H100.cache_bytes)

    def seconds(device: Device, *again: Again) -> float:
        step = Step(name="rows", reads={}, writes={}, again=again, inside=True)
        return predict([step], device, compiled=True).device_seconds - GAP

    near = many / (REACHED * H100.cache_bytes_per_second)
    far = many / (STREAMED * H100.bytes_per_second)
    assert seconds(H100, Again(bytes=many, table=room)) == pytest.approx(near)
    quarter = seconds(H100, Again(bytes=many, table=4 * room))
    assert quarter == pytest.approx(0.75 * far)
    small, large = Again(bytes=many, table=room // 2), Again(bytes=many, table=2 * room)
    assert seconds(H100, large, small) == pytest.approx(max(0.75 * far, 1.25 * near))
    none = replace(H100, cache_bytes=0.0, cache_bytes_per_second=0.0)
    assert seconds(none, small) == pytest.approx(far)


def test_views_cost_nothing_and_expanded_axes_are_read_once() -> None:
    assert steps_of(lambda x: x.view(-1)[3:].reshape(-1), (64, 64)) == []
    (step,) = steps_of(lambda x, y: x + y.expand(64, 64), (64, 64), (1, 64))
    assert sum(step.reads.values()) == 2 * (64 * 64 + 64)


def test_what_only_products_read_is_written_in_fp8() -> None:
    steps = steps_of(lambda x: (x + 1) @ (x * 2) + x, (1024, 1024))
    half, whole = (predict(steps, H100, compiled=True, fp8=fp8) for fp8 in (True, False))
    assert whole.bytes - half.bytes == 2 * 1024**2  # each of two factors by half


def test_picking_and_putting_touch_what_is_picked_and_put() -> None:
    def pick_and_put(x: torch.Tensor, few: torch.Tensor) -> None:
        at = torch.zeros(4, dtype=torch.int64, device="meta")
        x.index_copy_(0, at, few)
        x.index_select(0, at)

    put, pick = steps_of(pick_and_put, (1000, 64), (4, 64))[-2:]
    row = 64 * 2
    for step in (put, pick):
        moved = sum(step.reads.values()) + sum(step.writes.values())
        assert moved <= 3 * 4 * row + 4 * 8, step


def test_a_sort_reads_and_writes_keys_and_places_once_for_every_eight_bits() -> None:
    n = 1 << 20
    steps = steps_of(lambda x: x.sort(stable=True), (n,))
    assert len(steps) == 2  # of 16 bits
    assert all(step.moved == 2 * n * (2 + 8) for step in steps)


def test_a_network_costs_more_the_larger_it_is() -> None:
    times = []
    for width in (256, 512, 1024):
        net = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)).to("meta", torch.bfloat16)
        times.append(predict(steps_of(net, (10_000, width)), H100, compiled=True).seconds)
    assert times == sorted(times)


def test_every_device_names_its_source() -> None:
    assert set(DEVICES) == {"A100", "H100", "H200", "B200", "L4", "RTX 4090"}
    assert all(d.source and (d.fp8 is None or d.fp8 > d.bf16 > d.fp32) for d in DEVICES.values())
