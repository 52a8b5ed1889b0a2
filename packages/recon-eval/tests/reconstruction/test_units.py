"""Reconstructions that are shown together are in one unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon_eval.reconstruction import (
    PointOptions,
    View,
    read_models,
    rescaled,
    unit_ratio,
    write_archive,
)


@pytest.fixture
def two(tmp_path: Path, views: list[View]) -> list[Path]:
    """A teacher's and a student's reconstruction, the second in a unit half as long."""
    folders = [tmp_path / "teacher", tmp_path / "student"]
    write_archive(folders[0] / "prediction.npz", views)
    write_archive(folders[1] / "prediction.npz", rescaled(views, 2.0))
    return folders


def test_units_are_brought_to_that_of_the_first(two: list[Path], views: list[View]) -> None:
    first, second = read_models(two, PointOptions())
    assert (first.label, second.label) == ("teacher", "student")
    np.testing.assert_allclose(second.cloud.points, first.cloud.points, rtol=1e-4, atol=1e-5)
    assert unit_ratio(views, rescaled(views, 4.0)) == pytest.approx(0.25)
    for view, other in zip(views, rescaled(views, 4.0), strict=True):
        centers = view.camera_to_world[:3, 3], other.camera_to_world[:3, 3]
        np.testing.assert_allclose(centers[1], 4 * centers[0], atol=1e-9)


def test_a_view_without_depth_says_nothing_of_the_unit(views: list[View]) -> None:
    first, other = views[:2], rescaled(views[:2], 4.0)
    other[0] = replace(other[0], keep=np.zeros_like(other[0].depth, dtype=bool))
    assert unit_ratio(first, other) == pytest.approx(0.25)
    assert unit_ratio(other, first) == pytest.approx(4.0)
