"""Photos that an EXIF tag turns: their size, their masks, and where their pixels lie."""

from pathlib import Path

import numpy as np
import pytest
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from recon_backbones import InputError
from recon_backbones.photos import decode_photo, read_mask
from recon_backbones.photos.decode import read_photos

ORIENTATION = 0x0112
TURNS = range(1, 9)


def save(path: Path, size: tuple[int, int], turn: int) -> Path:
    """A smooth picture that is like none of its turns."""
    coarse = np.random.default_rng(3).integers(0, 255, (5, 4, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    picture.save(path, exif=exif, quality=98, subsampling=0)
    return path


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_sizes_and_masks_are_those_of_the_upright_photo_in_every_format(
    tmp_path: Path, kind: str, turn: int
) -> None:
    path = save(tmp_path / f"a.{kind}", (40, 30), turn)
    found = decode_photo(path, at_least=100)
    upright = (30, 40) if turn >= 5 else (40, 30)
    assert found.size == upright
    assert found.image.shape[1::-1] == upright
    with Image.open(path) as image:
        truth = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(found.image, truth)
    Image.new("L", upright, 255).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", path).shape == upright[::-1]
    if turn < 5:
        Image.new("L", upright[::-1], 255).save(tmp_path / "mask.png")
        with pytest.raises(InputError, match=r"mask\.png: is 30 x 40 pixels; it must be 40 x 30"):
            read_mask(tmp_path / "mask.png", path)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P", "I;16"])
@pytest.mark.parametrize("turn", TURNS)
def test_plain_tiffs_of_every_mode_are_turned_whole(tmp_path: Path, mode: str, turn: int) -> None:
    """Pillow maps files without compression into memory, but for RGB."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    as_shown = Image.fromarray(noise)
    if mode == "I;16":
        as_shown = Image.fromarray(noise.astype(np.uint16) << 8)
    elif mode != "L":
        as_shown = as_shown.convert("RGB").convert(mode)
    tag = Image.Exif()
    tag[ORIENTATION] = {6: 8, 8: 6}.get(turn, turn)  # the turn that undoes it
    stored = as_shown.copy()
    stored.info["exif"] = tag.tobytes()
    stored = ImageOps.exif_transpose(stored)
    tag[ORIENTATION] = turn
    stored.save(tmp_path / "a.tif", exif=tag)
    found = decode_photo(tmp_path / "a.tif", at_least=100)
    assert found.size == as_shown.size
    expected = noise[..., None] if mode == "I;16" else np.asarray(as_shown.convert("RGB"))
    np.testing.assert_array_equal(found.image, np.broadcast_to(expected, found.image.shape))
    with Image.open(tmp_path / "a.tif") as image:
        (whole,) = read_photos([image])
    np.testing.assert_array_equal(whole[..., :3], found.image)


@given(
    size=st.tuples(st.integers(225, 420), st.integers(225, 420)),
    turn=st.sampled_from(TURNS), at_least=st.integers(40, 120),
)  # fmt: skip
def test_pixels_of_a_reduced_photo_lie_where_its_factor_says(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], turn: int, at_least: int
) -> None:
    """Each is the mean of the pixels that it stands for; 0.5 is what rounding costs."""
    path = save(tmp_path_factory.mktemp("photos") / "a.jpg", size, turn)
    found = decode_photo(path, at_least=at_least)
    factor = found.factor
    with Image.open(path) as image:
        whole = np.asarray(ImageOps.exif_transpose(image), dtype=float)
    rows, columns = (side // factor for side in whole.shape[:2])
    cells = rearrange(
        whole[: rows * factor, : columns * factor],
        "(y v) (x u) rgb -> y x v u rgb",
        v=factor,
        u=factor,
    )
    seen = found.image[:rows, :columns].astype(float)
    assert np.abs(seen - cells.mean(axis=(2, 3))).mean() < 0.7
