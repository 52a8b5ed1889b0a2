"""Photos of every kind are read upright, and depth finds its way back to their pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recon_backbones import build_on_meta, preprocess
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos.decode import read_photos
from recon_backbones.vggt.preprocess import VggtPreprocess

BACKBONE = build_on_meta("da3-tiny")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(photo(20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned; upright is a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    (pixels,) = read_photos([tmp_path / "turned.png"])
    assert np.array_equal(pixels, np.rot90(np.asarray(image), -1))


def test_gray_palette_sixteen_bit_and_arrays_are_read(tmp_path: Path) -> None:
    gray = Image.fromarray(photo(9, 8)[..., 0])
    deep = Image.fromarray(photo(9, 8)[..., 0].astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    palette = Image.fromarray(photo(9, 8)).quantize(16)
    read = read_photos([gray, tmp_path / "deep.png", palette, photo(9, 8), photo(9, 8)[..., 0]])
    assert [p.shape for p in read] == [(9, 8, 3)] * 5
    assert np.array_equal(read[0], read[1])
    assert np.array_equal(read[0], read[4])


def test_an_empty_list_and_a_lone_photo_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        preprocess([], BACKBONE)
    with pytest.raises(ValueError, match="single photo"):
        read_photos("one.jpg")


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "absent", "folder"])
def test_a_broken_photo_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "broken.jpg"
    if damage == "text":
        path.write_text("this is no picture")
    elif damage == "cut":
        Image.fromarray(photo(64, 64)).save(path)
        path.write_bytes(path.read_bytes()[:1200])
    elif damage == "empty":
        path.touch()
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        preprocess([photo(30, 30), path], BACKBONE)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8)])
def test_arrays_of_another_kind_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        read_photos([bad])


def test_size_and_method_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="beside method"):
        preprocess([photo(30, 30)], BACKBONE, size=224, method=DA3Preprocess())
    with pytest.raises(ValueError, match="at least"):
        DA3Preprocess(size=7)
    with pytest.raises(ValueError, match="multiple"):
        VggtPreprocess(size=500)


@given(
    sizes=st.lists(st.tuples(st.integers(40, 300), st.integers(40, 300)), min_size=1, max_size=3),
    size=st.sampled_from([56, 112, 224]),
    pad=st.booleans(),
)
def test_any_sizes_give_one_batch_of_whole_patches(
    sizes: list[tuple[int, int]], size: int, pad: bool
) -> None:
    method = VggtPreprocess(size=size) if pad else DA3Preprocess(size=size)
    prepared = preprocess([photo(*s) for s in sizes], BACKBONE, method=method)
    _, views, _, height, width = prepared.images.shape
    assert views == len(sizes) and height % 14 == 0 and width % 14 == 0
    assert prepared.images.min() >= 0 and prepared.images.max() <= 1
    for original, mapping in zip(sizes, prepared.maps, strict=True):
        assert mapping.photo == original and mapping.size == (height, width)


@pytest.mark.parametrize("method", [DA3Preprocess(size=112), VggtPreprocess(size=112, mode="pad")])
def test_the_aspect_ratio_is_kept_to_a_patch(method: DA3Preprocess | VggtPreprocess) -> None:
    ((_, mapping),) = method(read_photos([photo(300, 200)]))
    assert abs(mapping.scale_x * 200 - mapping.scale_y * 200) <= 7 + 1


@given(seed=st.integers(0, 10**6), pad=st.booleans())
def test_depth_finds_its_way_back(seed: int, pad: bool) -> None:
    """A plane's depth, linear in the pixels, must come back to the very same plane."""
    generator = np.random.default_rng(seed)
    original = tuple(int(s) for s in generator.integers(60, 200, 2))
    method = VggtPreprocess(size=112, mode="pad") if pad else DA3Preprocess(size=112)
    prepared = preprocess([photo(*original), photo(90, 120)], BACKBONE, method=method)
    mapping = prepared.maps[0]
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in mapping.size)
    seen_x = (x - mapping.shift_x) / mapping.scale_x
    seen_y = (y - mapping.shift_y) / mapping.scale_y
    depth = 3 + 0.01 * seen_x + 0.02 * seen_y[:, None]
    back = mapping.depth_to_photo(depth)
    assert tuple(back.shape) == original
    u, v = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (original[1], original[0]))
    expected = 3 + 0.01 * u + 0.02 * v[:, None]
    valid = back.isfinite()
    assert valid.any() and (not pad or valid.all())
    assert (back - expected)[valid].abs().max() < 0.06  # half a processed pixel at the border
    inner = valid.clone()
    inner[:4], inner[-4:], inner[:, :4], inner[:, -4:] = False, False, False, False
    if pad and inner.any():
        assert (back - expected)[inner].abs().max() < 1e-9


@given(seed=st.integers(0, 10**6))
def test_intrinsics_there_and_back_are_the_same(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(40, 300, (2, 2)).tolist()
    prepared = preprocess([photo(*s) for s in sizes], BACKBONE, size=112)
    focal = torch.from_numpy(generator.uniform(50, 500, (2, 2)))
    k = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    k[:, 0, 0], k[:, 1, 1] = focal[:, 0], focal[:, 1]
    k[:, :2, 2] = torch.from_numpy(generator.uniform(10, 100, (2, 2)))
    there = prepared.intrinsics_from_photos(k)
    torch.testing.assert_close(prepared.intrinsics_to_photos(there), k)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_find_their_way_back_as_float32_does(dtype: torch.dtype) -> None:
    mapping = PixelMap(photo=(1500, 2000), size=(378, 504), scale_x=0.252, scale_y=0.252)
    depth = torch.linspace(1, 2, 504).expand(378, -1).to(dtype)
    lens = torch.tensor([[400.0, 0, 252], [0, 400, 189], [0, 0, 1]], dtype=dtype)
    for there, value in (
        (mapping.depth_to_photo, depth),
        (mapping.intrinsics_to_photo, lens),
        (mapping.intrinsics_from_photo, 4 * lens),
    ):
        assert torch.equal(there(value), there(value.float()).to(dtype))


def test_depth_of_another_size_is_refused() -> None:
    mapping = PixelMap(photo=(20, 20), size=(14, 14))
    with pytest.raises(ValueError, match=r"\(13, 14\)"):
        mapping.depth_to_photo(torch.zeros(13, 14))


def test_padding_is_not_seen() -> None:
    prepared = preprocess([photo(120, 60)], BACKBONE, method=VggtPreprocess(size=112, mode="pad"))
    top, left, bottom, right = prepared.maps[0].seen()
    assert (top, bottom) == (0, 112) and left == 28 and right == 84
    outside = prepared.images[0, 0].clone()
    outside[:, top:bottom, left:right] = 1
    assert (outside == 1).all()
