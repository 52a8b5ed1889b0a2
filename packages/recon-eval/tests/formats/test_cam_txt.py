"""Camera files of every dialect, and what is none of them."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.formats import read_cam_txt, read_pairs, write_cam_txt

HEAD = """extrinsic
0.0 -1.0 0.0 0.5
1.0 0.0 0.0 -2.0
0.0 0.0 1.0 3.0
0.0 0.0 0.0 1.0

intrinsic
361.5 0.0 82.9
0.0 360.4 66.4
0.0 0.0 1.0

"""
on_disk = settings.get_profile("on_disk")


def camera(folder: Path, tail: str, head: str = HEAD) -> Path:
    path = folder / "00000000_cam.txt"
    path.write_bytes((head + tail).encode())
    return path


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    plain = read_cam_txt(camera(tmp_path, "425.0 2.5 192 933.8")).camera
    marked = read_cam_txt(camera(tmp_path, "425.0 2.5 192 933.8", "\ufeff" + HEAD)).camera
    np.testing.assert_array_equal(marked.world_to_camera, plain.world_to_camera)


@pytest.mark.parametrize(
    ("tail", "kind", "depths", "guessed"),
    [
        ("", "none", (None, None), False),
        ("425.0 2.5", "min_interval", (425.0, 425 + 2.5 * 191), True),
        ("425.0 935.0 \n", "min_max", (425.0, 935.0), True),
        ("4.336407 8.482101", "min_max", (4.336407, 8.482101), True),
        ("425.0 2.5 128", "min_interval_planes", (425.0, 425 + 2.5 * 127), False),
        ("58.6 1.46 128.0 245.5", "min_interval_planes_max", (58.6, 245.5), False),
        ("-0.2 0.01 128 3.5", "min_interval_planes_max", (None, None), False),
        ("0 0", "min_interval", (None, None), False),
    ],
)
def test_every_tail_is_told_apart(
    tmp_path: Path, tail: str, kind: str, depths: tuple[float | None, ...], guessed: bool
) -> None:
    with pytest.warns(match="taken for") if guessed else nullcontext():
        found = read_cam_txt(camera(tmp_path, tail))
    assert (found.tail, found.guessed) == (kind, guessed)
    assert (found.depth_min, found.depth_max) == pytest.approx(depths)


def test_the_caller_can_settle_what_two_numbers_mean(tmp_path: Path) -> None:
    path = camera(tmp_path, "0.5 0.8")
    with pytest.warns(match=r"00000000_cam\.txt: .* taken for min_max; .* by two_numbers"):
        assert read_cam_txt(path).depth_max == 0.8
    settled = read_cam_txt(path, two_numbers="min_interval", planes=11, interval_scale=1.06)
    assert settled.depth_max == pytest.approx(0.5 + 1.06 * 0.8 * 10)
    assert not settled.guessed
    assert read_cam_txt(path, two_numbers="min_max").depth_max == 0.8


def test_values_spaces_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    plain = read_cam_txt(camera(tmp_path, "1 2 3"))
    windows = read_cam_txt(camera(tmp_path, "1 2 3 \r\n", HEAD.replace("\n", " \r\n")))
    assert np.array_equal(plain.camera.world_to_camera, windows.camera.world_to_camera)
    assert plain.camera.world_to_camera[:, 3].tolist() == [0.5, -2.0, 3.0]
    assert plain.camera.intrinsics[:2, 2].tolist() == pytest.approx([83.4, 66.9])
    assert plain.camera.name == "00000000"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("0.0 -1.0 0.0 0.5", "0.0 -2.0 0.0 0.5", "not a rotation"),
        ("0.0 -1.0 0.0 0.5", "0.0 1.0 0.0 0.5", "not a rotation"),
        ("0.0 -1.0 0.0 0.5", "nan -1.0 0.0 0.5", "not finite"),
        ("0.0 -1.0 0.0 0.5", "zero -1.0 0.0 0.5", "no number"),
        ("0.0 0.0 0.0 1.0\n", "0.0 0.0 0.0 2.0\n", "last row of the extrinsic"),
        ("361.5", "-361.5", "focal lengths"),
        ("intrinsic", "intrinsics", "is no camera file"),
        ("66.4\n0.0 0.0 1.0\n", "66.4\n0.0 0.0 1.0\n1 2 3 4 5", "may have 0, 2, 3 or 4"),
    ],
)
def test_a_malformed_camera_is_refused_with_file_and_rule(
    tmp_path: Path, old: str, new: str, rule: str
) -> None:
    assert old in HEAD
    with pytest.raises(ValueError, match=f"00000000_cam.txt.*{rule}"):
        read_cam_txt(camera(tmp_path, "", HEAD.replace(old, new)))


@given(content=st.one_of(st.binary(max_size=400), st.text(max_size=400).map(str.encode)))
@on_disk
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x_cam.txt"
    path.write_bytes(content)
    for read in (read_cam_txt, read_pairs):
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)


@given(
    words=st.lists(
        st.sampled_from(["extrinsic", "intrinsic", "0", "1", "-1", "1e400", "nan", "7", "x"]),
        max_size=40,
    ),
    position=st.integers(0, 40),
)
@on_disk
def test_a_camera_with_words_put_in_is_read_or_refused(
    tmp_path: Path, words: list[str], position: int
) -> None:
    parts = HEAD.split()
    path = camera(tmp_path, "", " ".join(parts[:position] + words + parts[position:]))
    try:
        read_cam_txt(path)
    except ValueError as error:
        assert str(path) in str(error)


def test_pairs_leave_out_the_view_itself_and_scores_of_zero(tmp_path: Path) -> None:
    path = tmp_path / "pair.txt"
    path.write_text("3\n0\n4 0 9.5 1 8.0 2 0.0 -1 0\n1\n1 0 8.0\n2\n0\n")
    assert read_pairs(path) == {0: [(1, 8.0)], 1: [(0, 8.0)], 2: []}


@pytest.mark.parametrize(
    "text",
    [
        "2\n0\n1 1 3.0\n",
        "1\n0\n2 1 3.0\n",
        "1\n0\n1 1.7 3.0\n",
        "1\n0\n1 -1 3.0\n",
        "1\n0\n0\n5\n",
        "-1\n",
        "a",
    ],
)
def test_cut_off_or_longer_pairs_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pair.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"pair\.txt"):
        read_pairs(path)


@pytest.mark.parametrize("planes", [0, 1])
def test_planes_that_hold_no_interval_are_refused(tmp_path: Path, planes: int) -> None:
    known = read_cam_txt(camera(tmp_path, "")).camera
    with pytest.raises(ValueError, match=f"planes={planes}; it must be at least 2"):
        write_cam_txt(tmp_path / "b_cam.txt", known, depth_range=(1.0, 2.0), planes=planes)
