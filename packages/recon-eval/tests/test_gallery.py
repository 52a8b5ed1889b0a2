"""A gallery keeps what models answered, in one unit, and says how far they differ."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recon_eval import Answer
from recon_eval.data import Scene, SyntheticScenes
from recon_eval.gallery import TRUTH, Gallery


def telling(factor: float) -> Callable[[Scene], Answer]:
    def answer(scene: Scene) -> Answer:
        seen = SyntheticScenes("test", count=1, views=5, height=28, width=28)[0]
        assert seen.depth is not None
        return Answer(depth=factor * seen.depth, world_to_camera=seen.world_to_camera)

    return answer


@pytest.fixture
def scene() -> Scene:
    return SyntheticScenes("test", count=1, views=5, height=28, width=28)[0]


def test_every_depth_is_shown_in_the_unit_of_the_truth(scene: Scene) -> None:
    gallery = Gallery([scene], base="first")
    for label, factor in (("first", 1.0), ("second", 3.0)):
        gallery.look(label, telling(factor))
    (figure,) = gallery.figures(("second", "unseen"))
    assert list(figure.depth) == [TRUTH, "first", "second"]
    assert figure.differences == [("second", "first")]
    assert figure.images.shape == (4, 28, 28, 3)
    np.testing.assert_allclose(figure.depth["second"], figure.depth[TRUTH], rtol=1e-4)


def test_without_truth_the_unit_is_that_of_the_base(scene: Scene) -> None:
    gallery = Gallery([replace(scene, depth=None, world_to_camera=None)], base="first")
    for label, factor in (("first", 2.0), ("second", 3.0)):
        gallery.look(label, telling(factor))
    (figure,) = gallery.figures()
    assert list(figure.depth) == ["first", "second"]
    np.testing.assert_allclose(figure.depth["second"], figure.depth["first"], rtol=1e-4)


def test_differences_are_from_the_base_alone(scene: Scene) -> None:
    gallery = Gallery([scene], base="first")
    for label, factor in (("first", 1.0), ("second", 1.5)):
        gallery.look(label, telling(factor))
    (found,) = gallery.differences()
    assert (found["label"], found["views"]) == ("second", 5)
    assert found["depth_change"] == pytest.approx(0.5)
    assert found["pose_agreement"] == 1
    assert gallery.words() == [
        f"{scene.name}, 5 views: depth of the second differs from the first's by 50.00% (median) "
        "and its cameras agree to AUC@30 1.000."
    ]
