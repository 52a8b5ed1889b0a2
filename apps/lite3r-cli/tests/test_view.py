"""`lite3r view` writes reconstructions as one file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon_eval.reconstruction import View, write_archive


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """A teacher's and a student's reconstruction of one photo."""
    camera = np.array([[8.0, 0, 4], [0, 8.0, 3], [0, 0, 1]])
    view = View(
        name="a.jpg",
        image=np.zeros((6, 8, 3), np.uint8),
        depth=np.full((6, 8), 2.0, np.float32),
        confidence=np.ones((6, 8), np.float32),
        world_to_camera=np.eye(4)[:3],
        intrinsics=camera,
        original_intrinsics=camera,
        original_size=(8, 6),
    )
    folders = [tmp_path / "teacher", tmp_path / "student"]
    for folder in folders:
        write_archive(folder / "prediction.npz", [view])
    return folders


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
