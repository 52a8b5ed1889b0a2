"""Cameras find their photos by name; those of other images are refused."""

from pathlib import Path

import numpy as np
import pytest

from recon_eval.formats import Camera, match_cameras, matching

SOURCE = Path("cameras")


def known(*names: str, size: tuple[int, int] | None = (80, 60)) -> list[Camera]:
    return [
        Camera(
            name=name,
            world_to_camera=np.eye(4)[:3],
            intrinsics=np.array([[90.0, 0, 40], [0, 90.0, 30], [0, 0, 1]]),
            size=size,
        )
        for name in names
    ]


def paths(*names: str) -> list[Path]:
    return [Path("/photos") / name for name in names]


def test_photos_find_their_cameras_by_name_and_folder() -> None:
    matched = match_cameras(
        SOURCE,
        known("b/1.jpg", "a/1.jpg", "2.jpg"),
        paths("a/1.jpg", "b/1.jpg", "deep/2.jpg", "3.jpg"),
    )
    assert [c and c.name for c in matched] == ["a/1.jpg", "b/1.jpg", "2.jpg", None]


def test_names_of_thousands_are_read_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each against each took minutes for a video's cameras."""
    read: list[str] = []
    monkeypatch.setattr(matching, "normalize", lambda form, text: read.append(text) or text)
    frames = [f"frame_{i:05d}" for i in range(500)]
    matched = match_cameras(
        SOURCE, known(*(f"{one}.png" for one in frames)), paths(*(f"{one}.jpg" for one in frames))
    )
    assert [c and c.name for c in matched] == [f"{one}.png" for one in frames]
    assert len(read) <= 4 * len(frames)


def test_endings_differ_only_where_no_name_is_equal() -> None:
    matched = match_cameras(SOURCE, known("1.jpg", "1.png", "2"), paths("1.png", "2.jpg"))
    assert [c and c.name for c in matched] == ["1.png", "2"]


def test_a_point_in_a_name_is_no_ending() -> None:
    names = ("shot.001", "shot.002", "v1.final", "deep/v2.draft")
    matched = match_cameras(
        SOURCE, known(*names), paths("shot.001.jpg", "shot.002.png", "v1.final.jpg", "v2.draft.JPG")
    )
    assert [c and c.name for c in matched] == list(names)
    matched = match_cameras(SOURCE, known("a.1", "a", "b.2.png"), paths("a.jpg", "b.2.jpg"))
    assert [c and c.name for c in matched] == ["a", "b.2.png"]
    with pytest.raises(ValueError, match="other images"):
        match_cameras(SOURCE, known("a.1", "b.1"), paths("a.jpg", "b.jpg"))


def test_accents_are_equal_however_they_are_written() -> None:
    written = ("scho\u0308n/ü.jpg", "cafe\u0301.jpg")  # as a Mac writes ö and é
    matched = match_cameras(SOURCE, known(*written), paths("schön/ü.jpg", "café.jpg"))
    assert [c and c.name for c in matched] == list(written)


def test_cameras_of_other_images_are_refused_naming_both() -> None:
    with pytest.raises(ValueError, match=r"other images.*IMG_1.jpg.*photo.jpg"):
        match_cameras(SOURCE, known("IMG_1.jpg", "IMG_2.jpg"), paths("photo.jpg", "photo2.jpg"))


def test_a_name_that_fits_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="fits several cameras"):
        match_cameras(SOURCE, known("a/1.jpg", "b/1.jpg"), paths("1.jpg", "c/2.jpg"))
    with pytest.raises(ValueError, match="fits several photos"):
        match_cameras(SOURCE, known("1.jpg"), paths("a/1.jpg", "b/1.jpg"))
