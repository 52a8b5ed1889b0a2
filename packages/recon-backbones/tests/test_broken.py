"""Photos whose bytes are odd or damaged are read, or refused in one sentence that is true."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from recon_backbones import InputError
from recon_backbones.photos import decode_photo, read_photos

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
PICTURE = Image.effect_noise((40, 30), 90).convert("RGB")


def written(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def pages(kind: str) -> bytes:
    return written(kind, save_all=True, append_images=[PICTURE])


@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it can still read
@pytest.mark.parametrize("kind", ["TIFF", pytest.param("AVIF", marks=needs_avif)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_damage_anywhere_is_a_photo_or_a_refusal_by_name(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    raw = bytearray(pages(kind))
    ends = st.integers(0, min(400, len(raw) - 1))  # where files say what is in them
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(ends | ends.map(lambda n: len(raw) - 1 - n))
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.photo"
    path.write_bytes(raw)
    try:
        assert decode_photo(path, at_least=14).image.shape[2] == 3
    except InputError as error:
        assert "a.photo" in str(error)


def test_only_the_first_page_of_a_tiff_need_be_whole(tmp_path: Path) -> None:
    raw = pages("TIFF")
    second = raw.rindex((0x100).to_bytes(2, "little") + b"\4\0\1\0\0\0")  # its width
    (tmp_path / "a.tif").write_bytes(raw[:second] + b"\0\0" + raw[second + 2 :])
    found = decode_photo(tmp_path / "a.tif", at_least=100)
    np.testing.assert_array_equal(found.image, np.asarray(PICTURE))


@needs_avif
def test_an_avif_with_a_broken_header_or_broken_pixels_is_refused(tmp_path: Path) -> None:
    raw = written("AVIF")
    pixels = raw.index(b"mdat") + 8
    for broken in (raw.replace(b"pitm", b"free"), raw[:pixels] + bytes(len(raw) - pixels)):
        (tmp_path / "a.avif").write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.avif: .* Failed to decode"):
            decode_photo(tmp_path / "a.avif", at_least=100)


@needs_avif
def test_an_avif_under_the_brand_that_it_shares_with_heic_is_read(tmp_path: Path) -> None:
    raw = written("AVIF", quality=100, subsampling="4:4:4")
    assert raw[8:12] == b"avif"
    (tmp_path / "a.avif").write_bytes(raw[:8] + b"mif1" + raw[12:])
    found = decode_photo(tmp_path / "a.avif", at_least=100)
    assert np.abs(found.image.astype(float) - np.asarray(PICTURE)).mean() < 8


def test_what_is_missing_to_read_a_photo_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setattr("recon_backbones.photos.opening.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        decode_photo(path, at_least=100)
    assert str(caught.value).startswith(f"{path}: is a HEIC photo; ")
    assert str(caught.value).endswith("or convert it to JPEG")


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_an_unknown_range_are_refused_however_a_photo_is_given(
    tmp_path: Path, kind: type
) -> None:
    image = Image.fromarray(np.linspace(0, 1000, 600, dtype=kind).reshape(20, 30))
    image.save(tmp_path / "a.tif")
    for photo, name in ((tmp_path / "a.tif", "a.tif"), (image, "photo 0")):
        with pytest.raises(InputError, match=rf"{name}: holds 32-bit pixels .*: save it with 8"):
            read_photos([photo])
