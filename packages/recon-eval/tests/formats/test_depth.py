"""Depth maps: written and read in every kind, 0 where nothing is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recon_eval.formats import read_depth, write_depth

on_disk = settings.get_profile("on_disk")


def depth() -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.5, 9, (5, 7)).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -1
    return values


def known() -> np.ndarray:
    return np.where(np.isfinite(depth()) & (depth() > 0), depth(), 0)


@pytest.mark.parametrize("ending", [".pfm", ".npy", ".tiff", ".tif"])
def test_float_maps_come_back_exactly(tmp_path: Path, ending: str) -> None:
    write_depth(tmp_path / f"a{ending}", depth())
    read = read_depth(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read, known())
    assert read.dtype == np.float32


def test_pictures_come_back_within_half_a_step(tmp_path: Path) -> None:
    write_depth(tmp_path / "a.png", depth(), unit=1e-3)
    assert np.asarray(Image.open(tmp_path / "a.png")).dtype == np.uint16
    np.testing.assert_allclose(read_depth(tmp_path / "a.png", unit=1e-3), known(), atol=5.1e-4)


def test_what_is_known_never_becomes_unknown(tmp_path: Path) -> None:
    write_depth(tmp_path / "a.png", np.array([[1e-9, 0.0]], np.float32), unit=1.0)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[1, 0]]
    Image.fromarray(np.array([[7, 65535]], np.uint16)).save(tmp_path / "b.png")
    assert read_depth(tmp_path / "b.png", unknown=65535).tolist() == [[7, 0]]


def test_the_farthest_depth_that_fits_is_not_unknown(tmp_path: Path) -> None:
    unit = 0.00027956389957139197
    farthest = np.float32(18.321359634399414)  # 65535.4989 units
    write_depth(tmp_path / "a.png", np.full((1, 1), farthest), unit=unit)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[65535]]


def test_a_unit_that_is_too_small_is_refused_with_one_that_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: unit=1e-05; .* give at least 0\.000137"):
        write_depth(tmp_path / "a.png", np.full((2, 2), 9.0), unit=1e-5)
    with pytest.raises(ValueError, match=r"unit=0\.0; it must be above 0"):
        write_depth(tmp_path / "a.png", depth(), unit=0.0)
    with pytest.raises(ValueError, match=r"a\.jpg: ends in '\.jpg'"):
        write_depth(tmp_path / "a.jpg", depth())
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match=r"c\.png: is no depth map; RGB is neither"):
        read_depth(tmp_path / "c.png")
    np.save(tmp_path / "d.npy", np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"d\.npy: has the shape \(2, 2, 2\)"):
        read_depth(tmp_path / "d.npy")


@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it can still read
@pytest.mark.parametrize("ending", [".pfm", ".npy", ".tiff", ".png"])
@given(place=st.floats(0, 1), content=st.binary(min_size=1, max_size=6), cut=st.booleans())
@on_disk
def test_damaged_maps_are_read_or_refused(
    tmp_path: Path, ending: str, place: float, content: bytes, cut: bool
) -> None:
    path = tmp_path / f"a{ending}"
    write_depth(path, depth())
    raw = path.read_bytes()
    start = int(place * (len(raw) - 1))
    path.write_bytes(raw[:start] + content + (b"" if cut else raw[start + len(content) :]))
    try:
        assert (read_depth(path) >= 0).all()
    except ValueError as error:
        assert str(path) in str(error)
