"""Views of scenes by number: the same scene for the same number, each made once."""

import pytest
import torch

from distill import Views


def test_scenes_come_in_turn_and_are_made_once() -> None:
    made: list[int] = []

    def scene(number: int) -> torch.Tensor:
        made.append(number)
        return torch.full((4, 3, 2, 2), float(number))

    batches = Views(scene, count=2)
    assert [float(batches.at(i)[0, 0, 0, 0, 0]) for i in range(5)] == [0, 1, 0, 1, 0]
    assert made == [0, 1]


def test_views_are_drawn_without_repetition() -> None:
    photos = torch.arange(5.0)[:, None, None, None].expand(5, 3, 1, 1)
    drawn = Views(lambda _: photos, views=3).at(0)
    assert drawn.shape == (1, 3, 3, 1, 1)
    assert len({float(x) for x in drawn[0, :, 0, 0, 0]}) == 3
    with pytest.raises(ValueError, match="count=0; it must be at least 1"):
        Views(lambda _: photos, count=0)


def test_scenes_that_are_drawn_are_the_same_whenever_they_are_made() -> None:
    def batch(batches: Views, index: int) -> torch.Tensor:
        torch.manual_seed(index)
        return batches.at(index)

    def drawn(number: int) -> torch.Tensor:
        return torch.rand(5, 3, 2, 2)

    whole = Views(drawn, count=2, views=3)
    seen = [batch(whole, index) for index in range(6)]
    for index, expected in enumerate(seen):
        assert torch.equal(batch(Views(drawn, count=2, views=3), index), expected)
    assert not torch.equal(drawn(0), drawn(0))
