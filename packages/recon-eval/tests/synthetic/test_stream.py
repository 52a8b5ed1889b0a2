"""Scenes that are rendered as they are needed: a function of step and process, each shown twice."""

import pytest
import torch

from recon_eval.synthetic import Batch, FreshScenes, larger, mixed_cycle, small_cycle

CYCLE = (
    Batch(height=28, width=42, views=3, scenes=2),
    Batch(height=28, width=28, views=1, scenes=3),
)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"height": 0}, "height=0"), ({"views": 40}, "views=40"), ({"scenes": 0}, "scenes=0")],
)
def test_impossible_batches_are_refused(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Batch(**({"height": 28, "width": 28, "views": 1, "scenes": 1} | changes))


def test_batches_are_a_function_of_step_and_process() -> None:
    lasting, late = FreshScenes(CYCLE), FreshScenes(CYCLE)
    seen = [lasting.batch(step) for step in range(5)]
    again = late.batch(4)
    assert all(torch.equal(seen[4][name], again[name]) for name in again)
    other = FreshScenes(CYCLE, rank=1).batch(4)
    assert not torch.equal(other["images"], again["images"])
    assert again["images"].shape == (2, 3, 3, 28, 42)
    assert again["images"].dtype == torch.uint8


def test_every_scene_is_shown_twice_a_cycle_apart() -> None:
    scenes = FreshScenes(CYCLE)
    shown: dict[int, list[int]] = {}
    for step in range(0, 12, 2):
        for row in range(2):
            shown.setdefault(scenes._number(step, row), []).append(step)
    inner = [steps for steps in shown.values() if 2 <= steps[0] <= 8]
    assert inner and all(steps == [steps[0], steps[0] + 2] for steps in inner)


def test_the_cycles_hold_what_a_training_of_many_sizes_needs() -> None:
    cycle = mixed_cycle()
    square = [b for b in cycle if b.height == b.width == 224]
    assert 0.5 < len(square) / len(cycle) < 0.8
    assert {1, 2, 4, 8, 16, 32} & {b.views for b in cycle} >= {2, 4, 8, 16, 32}
    assert {112, 336, 448} <= {b.height for b in cycle}
    assert any(b.width > b.height for b in cycle) and any(b.width < b.height for b in cycle)
    assert larger(small_cycle(), 3)[0].scenes == 3 * small_cycle()[0].scenes


def test_a_stream_that_shows_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cycle=\(\); it must hold a batch"):
        FreshScenes(())
    with pytest.raises(ValueError, match=r"world=1\.5; it must be in"):
        FreshScenes(small_cycle(), world=1.5)
    for rank in (-1, 64):  # beyond them a scene would be another process's
        with pytest.raises(ValueError, match=rf"rank={rank}; it must be in 0\.\.63"):
            FreshScenes(small_cycle(), rank=rank)
