"""Float maps: both byte orders, and every way to be broken."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.formats import read_pfm, write_pfm

on_disk = settings.get_profile("on_disk")


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 1000))
@on_disk
def test_a_map_survives_the_disk_and_opencv_reads_the_same(
    tmp_path: Path, height: int, width: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    write_pfm(tmp_path / "a.pfm", values)
    assert np.array_equal(read_pfm(tmp_path / "a.pfm"), values)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.pfm"), cv2.IMREAD_UNCHANGED), values)


def test_big_endian_and_three_channels(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    (tmp_path / "a.pfm").write_bytes(b"PF\r\n2 2\r\n0.5\n" + values[::-1].astype(">f4").tobytes())
    assert np.array_equal(read_pfm(tmp_path / "a.pfm"), values)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "has 0 bytes"),
        (b"P6\n1 1\n255\n123", "begins with"),
        (b"Pf\n2 2\n-1.0\n" + bytes(15), "15 bytes follow .* need 16"),
        (b"Pf\n2 2\n-1.0\n" + bytes(17), "17 bytes follow .* need 16"),
        (b"Pf\n999999999 999999999\n-1.0\n", "sides must be"),
        (b"Pf\n0 4\n-1.0\n", "sides must be"),
        (b"Pf\n1 1\n0\n" + bytes(4), "the scale is"),
        (b"Pf\n1 1\nnan\n" + bytes(4), "the scale is"),
        (b"Pf\n-1 1\n1\n" + bytes(4), "begins with"),
    ],
)
def test_a_broken_map_is_refused_with_file_and_rule(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / "a.pfm").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.pfm.*{rule}"):
        read_pfm(tmp_path / "a.pfm")


@given(content=st.binary(max_size=80), head=st.sampled_from([b"", b"Pf\n2 2\n-1\n", b"PF 1 1 1"]))
@on_disk
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, head: bytes) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(head + content)
    try:
        assert read_pfm(path).dtype == np.float32
    except ValueError as error:
        assert str(path) in str(error)
