"""Names of views lie below one folder and lead back to their photos, however those were named."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recon_backbones import PhotoChoice
from recon_backbones.photos import common_folder, find_masks
from recon_backbones.photos.files import straight
from recon_backbones.photos.gather import Photos, gather
from recon_backbones.telling import SILENT

CHOICE = PhotoChoice()


def save(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (number, 0, 0)).save(path)


def gathered(*inputs: str) -> Photos:
    return gather(inputs, CHOICE, Path("frames"), cameras=None, telling=SILENT)


def test_folders_beside_and_above_give_names_without_the_way_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "left/deep/0.png", tmp_path / "right/1.png", tmp_path / "2.png")
    monkeypatch.chdir(tmp_path / "left/deep")
    found = gathered(".", "../../right", "../deep/../../2.png")
    assert found.root == tmp_path
    assert found.names == ("left/deep/0.png", "right/1.png", "2.png")
    assert common_folder([Path("../../right/1.png")]) == tmp_path / "right"


def test_masks_are_found_for_photos_that_were_named_by_a_way_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["left/0.png", "right/0.png"]
    save(*(tmp_path / "photos" / name for name in names))
    save(*(tmp_path / "masks" / f"{name}.png" for name in names))
    monkeypatch.chdir(tmp_path / "photos/left")
    found = gathered(".", "../right")
    masks = find_masks(tmp_path / "masks", found.paths, found.names)
    assert [mask.relative_to(tmp_path).as_posix() for mask in masks] == [
        f"masks/{name}.png" for name in names
    ]


def test_a_way_up_behind_a_link_leads_to_the_same_photo(tmp_path: Path) -> None:
    save(tmp_path / "real/inner/0.png", tmp_path / "real/1.png", tmp_path / "named/1.png")
    (tmp_path / "named/link").symlink_to(tmp_path / "real/inner")
    assert straight(tmp_path / "named/link/0.png") == tmp_path / "named/link/0.png"
    assert straight(tmp_path / "named/link/../1.png") == tmp_path / "real/1.png"
    assert straight(tmp_path / "real/inner/../1.png") == tmp_path / "real/1.png"


@given(steps=st.lists(st.sampled_from(["..", ".", "a", "b"]), max_size=8))
def test_a_straight_path_is_the_same_file_and_goes_back_nowhere(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """In a tree in which a/b is a link to b."""
    root = tmp_path_factory.getbasetemp() / "tree"
    for folder in ("x/a/a", "x/b/a", "x/b/b"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if not (root / "x/a/b").is_symlink():
        (root / "x/a/b").symlink_to("../b")
    path = root.joinpath("x/a", *steps, "0.png")
    found = straight(path)
    assert ".." not in found.parts
    assert os.path.realpath(found) == os.path.realpath(path)
