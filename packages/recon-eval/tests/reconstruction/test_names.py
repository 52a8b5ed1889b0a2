"""Names of photos that a format cannot hold are refused before any work."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon_eval.formats import PointCloud
from recon_eval.reconstruction import WRITERS, WRITTEN, Reconstruction, View, check_photos

ALL = tuple(WRITERS)
LATIN = os.fsdecode(b"caf\xe9.jpg")


@pytest.mark.parametrize("name", ["a b.jpg", "a\tb.jpg", "my photos/a.jpg"])
def test_a_space_is_refused_for_text_alone(name: str) -> None:
    photos = [Path("trip to Rome", "c.jpg"), Path("trip to Rome", name)]
    with pytest.raises(ValueError, match=r"has a space; .*leave colmap_text out"):
        check_photos(photos, ("ply", "colmap_text"))
    check_photos(photos, [form for form in ALL if form != "colmap_text"])


def test_a_space_in_the_folder_of_all_is_in_no_name() -> None:
    photos = [Path("my photos/a.jpg"), Path("my photos/../my photos/b.jpg")]
    check_photos(photos, ALL)
    with pytest.raises(ValueError, match=r"'my photos/a\.jpg' has a space"):
        check_photos([*photos, Path("c.jpg")], ALL)


@pytest.mark.parametrize("form", ["ply", "colmap", "html"])
def test_a_name_that_is_no_utf8_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"'caf\\udce9\.jpg' is no UTF-8; .*rename it"):
        check_photos([Path("a.jpg"), Path(LATIN)], (form,))


def test_the_longest_name_of_a_depth_map_is_written(views: list[View], tmp_path: Path) -> None:
    folders = "写" * 40
    for length, fits in ((243 - 121, True), (243 - 120, False)):
        name = f"{folders}/{'a' * length}.jpg"
        one = replace(views[0], name=name)
        made = Reconstruction(
            title="a", cloud=PointCloud(points=np.ones((1, 3))), views=[one], photos=Path()
        )
        beside = [tmp_path / "b.jpg", tmp_path / name]
        if fits:
            check_photos(beside, ALL)
            WRITERS["depth"](tmp_path, made)
            assert len(list((tmp_path / "depth").iterdir())) == 4
        else:
            check_photos(beside, ("ply",))
            with pytest.raises(ValueError, match=r"is too long; .* of 256 bytes"):
                check_photos(beside, ALL)


def test_text_is_not_left_out_beside_a_binary_model(
    views: list[View], cloud: PointCloud, tmp_path: Path
) -> None:
    spaced = [replace(view, name=f"a {i}.png") for i, view in enumerate(views)]
    for view in spaced:
        Image.fromarray(view.image).resize((112, 84)).save(tmp_path / view.name)
    made = Reconstruction(title="a", cloud=cloud, views=spaced, photos=Path(".."))
    WRITERS["colmap"](tmp_path / "out", made)
    with pytest.raises(ValueError, match=r"'a 0\.png' has a space"):
        WRITERS["colmap_text"](tmp_path / "out", made)
    assert len(list((tmp_path / "out/sparse/0").glob("*.bin"))) == 3


def test_what_is_written_is_known_by_name(written: Path, views: list[View]) -> None:
    assert {path.name for path in written.iterdir()} | {"masks"} == set(WRITTEN)
