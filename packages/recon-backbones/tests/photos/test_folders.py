"""What a folder holds: links are followed, and nothing is passed over in silence."""

import os
from pathlib import Path
from typing import Any

import pytest

from recon_backbones.photos import find_photos

from .pictures import picture


def test_links_out_of_the_tree_are_followed_and_dead_ones_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        picture(seed).save(tmp_path / f"elsewhere/{seed}.png")
        (tmp_path / f"photos/link {seed}.png").symlink_to(f"../elsewhere/{seed}.png")
    found = find_photos([tmp_path / "photos"])
    assert [path.name for path in found] == ["link 0.png", "link 1.png"]
    (tmp_path / "photos/z.png").symlink_to("../nowhere.png")
    with pytest.raises(ValueError, match=r"z.png is a link to nothing"):
        find_photos([tmp_path / "photos"])


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos/left").mkdir(parents=True)
    for seed, folder in enumerate(("elsewhere", "photos/left")):
        picture(seed).save(tmp_path / folder / "a.png")
    (tmp_path / "photos/right").symlink_to("../elsewhere")
    (tmp_path / "photos/left/up").symlink_to("..")
    found = find_photos([tmp_path / "photos"], recursive=True)
    assert sorted(path.resolve().parent.name for path in found) == ["elsewhere", "left"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refused(path: str) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    (tmp_path / "locked").mkdir()
    for seed in range(2):
        picture(seed).save(tmp_path / f"{seed}.png")
    monkeypatch.setattr(os, "scandir", refused)
    assert len(find_photos([tmp_path])) == 2
    with pytest.raises(PermissionError, match="locked"):
        find_photos([tmp_path], recursive=True)


def test_a_folder_of_folders_points_to_those_with_photos(tmp_path: Path) -> None:
    (tmp_path / "scene/images").mkdir(parents=True)
    picture(1).save(tmp_path / "scene/images/a.png")
    with pytest.raises(
        ValueError, match=r"holds no photo \(scene\).*name .*scene/images, which holds some"
    ):
        find_photos([tmp_path])
