"""Copies, neighbors and blurred photos are left out as asked, and told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFilter

from recon_backbones.photos import select_views

from .pictures import picture


def sharp_and_blurred(folder: Path, count: int) -> list[Path]:
    """Photos of which every third is sharp."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        image = picture(number, (256, 192), sharp=True)
        (image if number % 3 == 1 else image.filter(ImageFilter.GaussianBlur(9))).save(path)
    return paths


def test_copies_are_left_out_and_told(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    picture(2).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    found = select_views(sorted(tmp_path.iterdir()), max_views=None)
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    assert [path.name for path in found.left_out["a copy of another"]] == ["c.png"]


def test_of_neighbors_the_sharpest_is_taken(tmp_path: Path) -> None:
    paths = sharp_and_blurred(tmp_path, 30)
    chosen = select_views(paths, max_views=6).paths
    assert sum(int(path.stem) % 3 == 1 for path in chosen) >= 5
    numbers = [int(path.stem) for path in chosen]
    assert numbers == sorted(set(numbers))
    assert max(np.diff(numbers)) <= 9  # 29 / 5 apart, and at most half of that nearer or farther


def test_blurred_photos_are_dropped_only_when_asked(tmp_path: Path) -> None:
    paths = sharp_and_blurred(tmp_path, 6)[1:3] + sharp_and_blurred(tmp_path, 6)[4:5]
    assert len(select_views(paths, max_views=None).paths) == 3
    found = select_views(paths, max_views=None, drop_blurred=0.3)
    assert [path.stem for path in found.paths] == ["1", "4"]
    assert [path.stem for path in found.left_out["blurred"]] == ["2"]


@settings(deadline=None, max_examples=40)
@given(count=st.integers(2, 12), wanted=st.integers(2, 12))
def test_no_more_views_than_asked_for(
    tmp_path_factory: pytest.TempPathFactory, count: int, wanted: int
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(count):
        picture(number, (20, 20)).save(folder / f"{number:02d}.png")
    chosen = select_views(sorted(folder.iterdir()), max_views=wanted).paths
    assert len(chosen) == min(count, wanted)
