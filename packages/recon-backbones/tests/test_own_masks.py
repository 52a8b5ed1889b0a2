"""Masks of the user's own: found by name, turned and resampled as the photo, refused by name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from recon_backbones import Backbone, InputError, Masks, load_backbone, reconstruct
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos import find_masks, read_mask
from recon_backbones.photos.masks import seen_through

ORIENTATION = 0x0112


def save(path: Path, size: tuple[int, int], *, turn: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.effect_noise(size, 80).convert("RGB")
    exif = image.getexif()
    if turn is not None:
        exif[ORIENTATION] = turn
    image.save(path, exif=exif)
    return path


def save_mask(path: Path, kept: np.ndarray, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(kept.astype(np.uint8) * 255).convert(mode).save(path)
    return path


def corner(size: tuple[int, int]) -> np.ndarray:
    """All of an image (width, height) kept but its upper left quarter."""
    kept = np.ones(size[::-1], dtype=bool)
    kept[: size[1] // 2, : size[0] // 2] = False
    return kept


def test_a_mask_has_the_whole_name_of_its_photo_or_its_name_without_ending(tmp_path: Path) -> None:
    photos = [save(tmp_path / "photos" / name, (20, 16)) for name in ("a.jpg", "b.c.jpg")]
    for name in ("a.jpg.png", "a.png", "b.c.png"):
        save_mask(tmp_path / "masks" / name, corner((20, 16)))
    found = find_masks(tmp_path / "masks", photos, ["a.jpg", "b.c.jpg"])
    assert [mask.name for mask in found] == ["a.jpg.png", "b.c.png"]


def test_masks_of_nested_folders_are_those_of_their_own_photos(tmp_path: Path) -> None:
    names = ["left/0.jpg", "right/0.jpg"]
    photos = [save(tmp_path / "photos" / name, (20, 16)) for name in names]
    for name in names:
        save_mask(tmp_path / "masks" / f"{name}.png", corner((20, 16)))
    expected = tuple(tmp_path / "masks" / f"{name}.png" for name in names)
    assert find_masks(tmp_path / "masks", photos, names) == expected
    # of one folder alone, whose name photos no longer carry
    assert find_masks(tmp_path / "masks", photos[1:], ["0.jpg"]) == expected[1:]


def test_a_folder_in_which_a_photo_has_no_mask_is_refused_by_name(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(6)]
    photos = [save(tmp_path / "photos" / name, (20, 16)) for name in names]
    save_mask(tmp_path / "masks/0.jpg.png", corner((20, 16)))
    with pytest.raises(InputError, match=r"lacks those of 1.jpg, 2.jpg, 3.jpg and 2 more: add 1.j"):
        find_masks(tmp_path / "masks", photos, names)
    with pytest.raises(InputError, match=r"nowhere; it must be a folder"):
        find_masks(tmp_path / "nowhere", photos, names)


def test_one_mask_is_not_that_of_two_photos(tmp_path: Path) -> None:
    photos = [save(tmp_path / "photos" / name, (20, 16)) for name in ("a.jpg", "a.bmp")]
    save_mask(tmp_path / "masks/a.png", corner((20, 16)))
    with pytest.raises(InputError, match=r"a.png fits a.jpg and a.bmp: name masks as COLMAP"):
        find_masks(tmp_path / "masks", photos, ["a.jpg", "a.bmp"])


def test_masks_among_the_photos_would_be_photos(tmp_path: Path) -> None:
    photos = [save(tmp_path / "photos" / name, (20, 16)) for name in ("a.jpg", "a.jpg.png")]
    with pytest.raises(InputError, match="must hold no photo, and"):
        find_masks(tmp_path / "photos", photos, ["a.jpg", "a.jpg.png"])


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "I", "I;16", "F"])
def test_black_is_ignored_in_every_kind_of_image(tmp_path: Path, mode: str) -> None:
    photo = save(tmp_path / "a.jpg", (20, 16))
    suffix = "tiff" if mode in ("F", "I") else "png"
    mask = save_mask(tmp_path / f"a.{suffix}", corner((20, 16)), mode)
    np.testing.assert_array_equal(read_mask(mask, photo), corner((20, 16)))


def test_any_gray_is_kept_and_what_is_transparent_is_not(tmp_path: Path) -> None:
    photo = save(tmp_path / "a.jpg", (20, 16))
    pixels = np.zeros((16, 20, 4), np.uint8)
    pixels[:8] = (0, 1, 0, 255)
    pixels[8:] = (200, 200, 200, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", photo).sum(axis=1).tolist() == [20] * 8 + [0] * 8


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_mask_of_the_stored_or_of_the_upright_photo_masks_the_same(
    tmp_path: Path, turn: int
) -> None:
    """Where the turn keeps the shape, a mask is of the upright photo."""
    photo = save(tmp_path / "a.jpg", (20, 16), turn=turn)
    upright = corner((16, 20) if turn >= 5 else (20, 16))
    straight = save_mask(tmp_path / "straight.png", upright)
    np.testing.assert_array_equal(read_mask(straight, photo), upright)
    if turn >= 5:
        back = {5: 5, 6: 8, 7: 7, 8: 6}[turn]  # the turn that undoes it
        image = Image.fromarray(upright.astype(np.uint8) * 255)
        image.getexif()[ORIENTATION] = back
        ImageOps.exif_transpose(image).save(tmp_path / "stored.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "stored.png", photo), upright)


def test_a_mask_of_another_size_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    photo = save(tmp_path / "a.jpg", (20, 16))
    mask = save_mask(tmp_path / "a.png", corner((10, 8)))
    with pytest.raises(InputError, match=r"a.png: is 10 x 8 pixels; it must be 20 x 16, as a.jpg"):
        read_mask(mask, photo)
    turned = save_mask(tmp_path / "b.png", corner((16, 20)))
    with pytest.raises(InputError, match=r"is 16 x 20 pixels; it must be 20 x 16"):
        read_mask(turned, photo)
    mask.write_bytes(mask.read_bytes()[:60])
    with pytest.raises(InputError, match=r"a.png: "):
        read_mask(mask, photo)


@given(
    width=st.integers(14, 90), height=st.integers(14, 90), x=st.integers(0, 89),
    y=st.integers(0, 89), size=st.sampled_from([(14, 28), (42, 28), (100, 14)]),
)  # fmt: skip
def test_a_processed_pixel_is_dropped_exactly_where_it_touches_an_ignored_one(
    width: int, height: int, x: int, y: int, size: tuple[int, int]
) -> None:
    x, y = x % width, y % height
    mask = np.ones((height, width), dtype=bool)
    mask[y, x] = False
    pixels = PixelMap(photo=(height, width), size=(height, width)).resized(size)
    dropped = ~seen_through(mask, pixels)
    rows, columns = np.mgrid[: size[0], : size[1]]
    gap = 1e-9  # boxes that only meet do not touch
    touched = (columns / pixels.scale_x < x + 1 - gap) & ((columns + 1) / pixels.scale_x > x + gap)
    touched &= (rows / pixels.scale_y < y + 1 - gap) & ((rows + 1) / pixels.scale_y > y + gap)
    assert touched.any()
    np.testing.assert_array_equal(dropped, touched)


def test_padding_is_not_masked_and_a_crop_moves_the_mask() -> None:
    mask = np.ones((40, 40), dtype=bool)
    mask[:, :10] = False
    pixels = PixelMap(photo=(40, 40), size=(40, 40)).moved(4, 0, (40, 48))
    kept = seen_through(mask, pixels)
    assert kept[0].tolist() == [True] * 4 + [False] * 10 + [True] * 34
    cropped = seen_through(mask, PixelMap(photo=(40, 40), size=(40, 40)).moved(-8, 0, (40, 30)))
    assert cropped[0].tolist() == [False] * 2 + [True] * 28


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


def test_masked_pixels_are_not_kept_in_any_photo_however_it_was_resized_or_turned(
    tmp_path: Path, backbone: Backbone
) -> None:
    sizes = {"left/0.png": (90, 60), "right/0.png": (60, 90), "right/1.jpg": (120, 80)}
    for name, size in sizes.items():
        turn = 6 if name.endswith("jpg") else None  # upright it is 80 x 120
        save(tmp_path / "photos" / name, size, turn=turn)
        upright = size[::-1] if turn else size
        save_mask(tmp_path / "masks" / f"{name}.png", corner(upright))
    options = Masks(confidence_percentile=0.0, edge_tolerance=100.0, folder=tmp_path / "masks")
    folders = [tmp_path / "photos/left", tmp_path / "photos/right"]
    found = reconstruct(folders, backbone, size=56, masks=options)
    assert len(found) == len(found.masks) == 3
    for view in range(3):
        kept, wanted = found.keep_of(view), corner(found.sizes[view])
        assert not (kept & ~wanted).any()
        seen = np.isfinite(found.depth_of(view))
        assert kept[wanted & seen].mean() > 0.8  # but for pixels on the edge
    everything = reconstruct(
        folders, backbone, size=56, masks=Masks(confidence_percentile=0.0, edge_tolerance=100.0)
    )
    np.testing.assert_array_equal(found.depth, everything.depth)
    assert everything.masks == ()


def test_masks_that_leave_nothing_are_refused_before_the_network_runs(
    tmp_path: Path, backbone: Backbone
) -> None:
    photo = save(tmp_path / "photos/a.jpg", (40, 30))
    save_mask(tmp_path / "masks/a.jpg.png", np.zeros((30, 40), dtype=bool))
    with pytest.raises(InputError, match=r"leave no pixel of any photo; .*: invert them"):
        reconstruct([photo], backbone, size=56, masks=Masks(folder=tmp_path / "masks"))
