"""Every kind of photo shows the same picture, reduced or whole, or is refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from recon_backbones.photos import decode_photo

from .pictures import ORANGE, picture


def gray16(path: Path) -> None:
    Image.fromarray(np.asarray(picture(1).convert("L")).astype(np.uint16) * 257).save(path)


def turned(path: Path) -> None:
    image = picture(1).transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    exif[0x0112] = 6  # show it turned a quarter to the right
    image.save(path, exif=exif, quality=95)


KINDS: dict[str, Callable[[Path], None]] = {
    "plain.png": lambda path: picture(1).save(path),
    "gray.png": lambda path: picture(1).convert("L").save(path),
    "sixteen bits.png": gray16,
    "sixteen bits.tiff": gray16,
    "print.tif": lambda path: picture(1).convert("CMYK").save(path),
    "print.jpg": lambda path: picture(1).convert("CMYK").save(path, quality=95),
    "palette.png": lambda path: picture(1).quantize(200).save(path),
    "see-through.png": lambda path: picture(1).convert("RGBA").save(path),
    "turned.jpg": turned,
    "ünïcödé 名前.webp": lambda path: picture(1).save(path, quality=95),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_photo_shows_the_same_picture(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name)
    found = decode_photo(tmp_path / name, at_least=1000)
    assert found.image.shape == (64, 96, 3)
    assert (found.size, found.factor) == ((96, 64), 1)
    truth = np.asarray(picture(1).convert("L"), dtype=float)
    seen = np.asarray(Image.fromarray(found.image).convert("L"), dtype=float)
    assert np.abs(seen - truth).mean() < 12


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (*ORANGE, 0)).save(tmp_path / "a.png")
    assert (decode_photo(tmp_path / "a.png", at_least=10).image == 255).all()


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(14, 900), height=st.integers(14, 900), at_least=st.integers(14, 200),
    suffix=st.sampled_from([".jpg", ".png"]),
)  # fmt: skip
def test_photos_are_reduced_to_between_one_and_two_times_what_is_needed(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, at_least: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("photos") / f"a{suffix}"
    Image.new("RGB", (width, height), ORANGE).save(path)
    found = decode_photo(path, at_least=at_least)
    rows, columns = found.image.shape[:2]
    assert found.size == (width, height)
    assert rows == -(-height // found.factor)
    assert columns == -(-width // found.factor)
    if max(width, height) >= at_least:
        assert at_least <= max(rows, columns) <= 2 * at_least


def test_a_photo_decoded_small_shows_what_the_whole_one_shows(tmp_path: Path) -> None:
    picture(2, (1600, 1200)).save(tmp_path / "a.jpg", quality=95)
    small = decode_photo(tmp_path / "a.jpg", at_least=150)
    assert small.factor == 8
    whole = np.asarray(Image.open(tmp_path / "a.jpg").reduce(8), dtype=float)
    assert np.abs(whole - small.image).mean() < 2


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "animated.png": (
        lambda path: picture(1).save(path, save_all=True, append_images=[picture(2)]),
        "animation of 2 frames",
    ),
    "animated.webp": (
        lambda path: picture(1).save(path, save_all=True, append_images=[picture(2)]),
        "animation of 2 frames",
    ),
    **(
        {
            "animated.avif": (
                lambda path: picture(1).save(path, save_all=True, append_images=[picture(2)]),
                "animation of 2 frames",
            )
        }
        if features.check("avif")
        else {}
    ),
    "tiny.png": (lambda path: picture(1, (5, 40)).save(path), "5 x 40 pixels"),
    "float.tiff": (lambda path: picture(1).convert("F").save(path), "32-bit pixels"),
    "text.jpg": (lambda path: path.write_text("hello") and None, "no JPEG"),
    "empty.jpg": (lambda path: path.touch(), "no JPEG"),
    "cut.png": (lambda path: _cut(path), "broken"),
    "huge.png": (lambda path: _claims(path, 20_000, 20_000), "more than 170,000,000 pixels"),
}


def _cut(path: Path) -> None:
    picture(1).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def _claims(path: Path, width: int, height: int) -> None:
    """A PNG whose header claims a size that its data does not have."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + end)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_photo_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, part = BAD[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=part) as caught:
        decode_photo(tmp_path / name, at_least=100)
    assert name in str(caught.value)
