"""Photographs as people have them: turned, of mixed sizes, broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon_eval.data import Photos
from recon_eval.formats import open_image, read_image


def photo(path: Path, width: int = 8, height: int = 6, **options: object) -> Path:
    rng = np.random.default_rng(width * 100 + height)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path, **options)
    return path


def test_photographs_of_mixed_sizes_in_order_of_names(tmp_path: Path) -> None:
    photo(tmp_path / "b.JPG", 8, 6)
    photo(tmp_path / "a.png", 5, 9)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")  # as a Mac leaves it beside a.png
    photos = Photos(tmp_path)
    assert [path.name for path in photos.paths] == ["a.png", "b.JPG"]
    assert [path.name for path in photos.ignored] == ["notes.txt"]
    assert photos.sizes == [(9, 5), (6, 8)]
    assert [image.size for image in photos] == [(5, 9), (8, 6)]
    assert photos[1].size == (8, 6)
    assert len(photos) == 2


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_an_image_that_says_not_what_is_white_is_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray((200 * np.random.rand(6, 8)).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: mode=[IF], 32 bits a pixel, .* save it so"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_the_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = photo(tmp_path / f"a.{kind}", 8, 6, exif=exif)
    photo(tmp_path / "b.png")
    turned = orientation >= 5
    assert Photos(tmp_path).sizes[0] == ((8, 6) if turned else (6, 8))
    upright = np.asarray(open_image(path))
    plain = np.asarray(open_image(tmp_path / "b.png"))
    undo = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: plain[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(plain, 1),
    }
    assert np.array_equal(upright, undo[orientation])


@pytest.mark.parametrize(("orientation", "quarters"), [(6, -1), (8, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_plain_tiffs_of_every_mode_are_turned_whole(
    tmp_path: Path, mode: str, orientation: int, quarters: int
) -> None:
    """Pillow maps such files into memory, but for RGB."""
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    deep = mode == "I;16"
    image = Image.fromarray(gray.astype(np.uint16) << 8 if deep else gray)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (image if deep else image.convert(mode)).save(tmp_path / "a.tif", exif=exif)
    upright = np.asarray(open_image(tmp_path / "a.tif"))
    assert np.array_equal(upright[..., 0], np.rot90(gray, quarters))


def test_gray_alpha_palette_and_sixteen_bits_become_rgb(tmp_path: Path) -> None:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([gray] * 4)).save(tmp_path / "alpha.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(gray.astype(np.uint16) << 8).save(tmp_path / "deep.png")
    for name in ("gray", "alpha", "palette", "deep"):
        image = read_image(tmp_path / f"{name}.png")
        assert image.shape == (3, 6, 8)
        assert np.array_equal((image[0] * 255).round().byte().numpy(), gray), name


def test_a_text_file_named_jpg_is_refused_at_once(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("this is no photograph")
    with pytest.raises(ValueError, match=r"b\.jpg: its content is no JPEG.*remove the file"):
        Photos(tmp_path)


@pytest.mark.parametrize("keep", [2, 200, 500])
def test_a_cut_off_photograph_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = photo(tmp_path / "a.jpg", 40, 40)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.jpg"):
        open_image(path)


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="its content is no JPEG"):
        open_image(tmp_path / "a.jpg")


def test_absurd_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 4, 4)
    raw = bytearray(path.read_bytes())
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.png"):
        open_image(path)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: does not exist"):
        Photos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds 0 photographs"):
        Photos(tmp_path)
    path = photo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"holds 1 photographs.*at least 2"):
        Photos(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file"):
        Photos(path)
    assert len(Photos(tmp_path, at_least=1)) == 1
