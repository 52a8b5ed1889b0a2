"""Scenes that are drawn as they are needed: a function of step and process, each shown often."""

from collections.abc import Sequence

import pytest
import torch

from recon_eval.synthetic import Batch, FreshScenes, larger, mixed_cycle, small_cycle
from recon_eval.synthetic.stream import _mirrored

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


def test_every_scene_is_shown_four_times_a_cycle_apart() -> None:
    scenes = FreshScenes(CYCLE)
    shown: dict[int, list[int]] = {}
    for step in range(0, 24, 2):
        for row in range(2):
            shown.setdefault(scenes._number(step, row), []).append(step)
    whole = [steps for steps in shown.values() if 6 <= steps[0] <= 16]
    assert whole and all(steps == [steps[0] + 2 * i for i in range(4)] for steps in whole)


def test_a_scene_is_drawn_once_and_forgotten_when_it_was_shown_for_the_last_time() -> None:
    scenes, drawn = FreshScenes(CYCLE), []
    render = scenes._render

    def counted(numbers: Sequence[int], batch: Batch) -> list[dict[str, torch.Tensor]]:
        drawn.extend(numbers)
        return render(numbers, batch)

    scenes._render = counted  # type: ignore[method-assign]
    for step in range(16):
        scenes.batch(step)
    assert len(drawn) == len(set(drawn)) < 16 * 5 / 2
    assert len(scenes._kept) <= 5


def test_a_mirrored_scene_is_a_scene() -> None:
    """A point that one view sees at a pixel lies where the others see it, in the mirror too."""
    row = {name: tensor[0] for name, tensor in FreshScenes(CYCLE).batch(0).items()}
    for seen in (row, _mirrored(row)):
        assert torch.linalg.det(seen["world_to_camera"][..., :3]).tolist() == pytest.approx([1] * 3)
        assert (_depth_error(seen).median()) < 0.02
    assert all(torch.equal(tensor, row[name]) for name, tensor in _mirrored(_mirrored(row)).items())


def _depth_error(row: dict[str, torch.Tensor]) -> torch.Tensor:
    """How far the points of view 0 lie from the surface that view 1 sees in their direction."""
    height, width = row["depth"].shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)
    own = pixels @ torch.linalg.inv(row["intrinsics"][0]).T * row["depth"][0].reshape(-1, 1)
    (turn, shift), (to, by) = ((e[:, :3], e[:, 3]) for e in row["world_to_camera"][:2])
    other = (own - shift) @ turn @ to.T + by
    ahead = other[other[:, 2] > 0]
    at = ahead @ row["intrinsics"][1].T
    column, line = (at[:, :2] / at[:, 2:]).floor().long().T
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    found = row["depth"][1][line[inside], column[inside]]
    return (found / ahead[inside, 2] - 1).abs()


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
