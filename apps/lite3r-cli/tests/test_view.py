"""`lite3r view` writes reconstructions as one file, in one unit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lite3r.pages.models import read_models, rescaled, unit_ratio
from lite3r.scene.archive import write_npz
from lite3r.scene.points import PointOptions
from lite3r.scene.view import View


@pytest.fixture
def two(tmp_path: Path, views: list[View]) -> list[Path]:
    """A teacher's and a student's reconstruction, the second in a unit half as long."""
    folders = [tmp_path / "teacher", tmp_path / "student"]
    write_npz(folders[0] / "prediction.npz", views)
    write_npz(folders[1] / "prediction.npz", rescaled(views, 2.0))
    return folders


def test_units_are_brought_to_that_of_the_first(two: list[Path], views: list[View]) -> None:
    first, second = read_models(two, PointOptions())
    assert (first.label, second.label) == ("teacher", "student")
    np.testing.assert_allclose(second.cloud.xyz, first.cloud.xyz, rtol=1e-4, atol=1e-5)
    assert unit_ratio(views, rescaled(views, 4.0)) == pytest.approx(0.25)
    for view, other in zip(views, rescaled(views, 4.0), strict=True):
        centres = view.camera_to_world[:3, 3], other.camera_to_world[:3, 3]
        np.testing.assert_allclose(centres[1], 4 * centres[0], atol=1e-9)


def test_one_page_holds_both_with_a_switch(lite3r: Any, two: list[Path]) -> None:
    done = lite3r("view", *two, "--html", "both.html", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["bytes"] == Path("both.html").stat().st_size
    page = Path("both.html").read_text()
    assert '"label": "teacher"' in page
    assert '"label": "student"' in page
    again = lite3r("view", *two, "--html", "both.html")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert lite3r("view", *two, "--html", "both.html", "--overwrite").code == 0


def test_a_folder_without_an_archive_is_told_how_to_get_one(lite3r: Any, tmp_path: Path) -> None:
    done = lite3r("view", tmp_path)
    assert done.code == 2
    assert "npz among its --formats" in done.err


@pytest.mark.parametrize(
    "words", [("--edge-tolerance", "0"), ("--html", "page.txt"), ("--max-points", "0")]
)
def test_wrong_options_are_refused(lite3r: Any, two: list[Path], words: tuple[str, ...]) -> None:
    done = lite3r("view", two[0], *words)
    assert done.code == 2
    assert words[1] in done.err


def test_without_a_name_the_page_lies_beside_the_first_reconstruction(
    lite3r: Any, two: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for _ in range(2):  # it is made anew each time
        assert lite3r("view", *two, "--open").code == 0
    assert opened == 2 * [(two[0] / "view.html").absolute().as_uri()]
