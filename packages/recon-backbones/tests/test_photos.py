"""Photos of every kind are read alike or refused; views and frames are chosen as promised."""

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageFilter, features

from recon_backbones import PhotoChoice, load_backbone
from recon_backbones.da3 import DepthAnything3, da3_tiny
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.photos import (
    decode_photo,
    extract_frames,
    find_photos,
    load_batch,
    preprocess,
    select_views,
)
from recon_backbones.photos.decode import Reduced
from recon_backbones.telling import Advance, Telling

ORANGE = (200, 120, 40)


def picture(seed: int, size: tuple[int, int] = (96, 64), *, sharp: bool = False) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
    return Image.fromarray(coarse).resize(size, how)


class Watched(np.ndarray):
    """Pixels that can be weakly referenced, by identity."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


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


def test_intrinsics_return_to_the_photos_they_came_from(tmp_path: Path) -> None:
    sizes = {"a.jpg": (1600, 1200), "b.png": (900, 1200), "c.jpg": (333, 251)}
    for seed, (name, size) in enumerate(sizes.items()):
        picture(seed, size).save(tmp_path / name)
    batch = load_batch(
        [tmp_path / n for n in sizes], load_backbone("da3-tiny", weights="random"), 112
    )
    assert batch.sizes == tuple(sizes.values())
    given = torch.tensor([[900.0, 0, 450], [0, 880, 610], [0, 0, 1]]).expand(3, 3, 3).double()
    there = batch.intrinsics_from_photos(given)
    torch.testing.assert_close(batch.intrinsics_to_photos(there), given)
    assert batch.seen().all()
    # a focal length in pixels shrinks with the photo: 1600 pixels became about 112
    assert float(there[0, 0, 0, 0]) == pytest.approx(900 * 112 / 1600, rel=0.1)


def test_photos_that_memory_does_not_hold_are_refused_before_any_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        picture(seed, (80, 40)).save(tmp_path / f"{seed}.png")
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    backbone = load_backbone("da3-tiny", weights="random")
    needed = 2 * 560 * 280 * 18  # bytes, while they are made
    monkeypatch.setattr("recon_backbones.photos.batch.available", lambda device: needed)
    assert load_batch(paths, backbone, 560).images.shape[-2:] == (280, 560)
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:80])
    with pytest.raises(ValueError, match="is broken"):
        load_batch(paths, backbone, 560)
    with pytest.raises(ValueError, match=r"size=574; 2 photos .* are free: use a smaller size"):
        load_batch(paths, backbone, 574)


def test_a_budget_bounds_photos_where_the_network_is_in_the_same_memory(tmp_path: Path) -> None:
    picture(1, (80, 40)).save(tmp_path / "a.png")
    backbone = load_backbone("da3-tiny", weights="random")
    given = {"budget": 560 * 280 * 18}
    assert load_batch([tmp_path / "a.png"], backbone, 560, **given).images.shape[1] == 1
    with pytest.raises(ValueError, match=r"size=574; 1 photo of .* may be used: use a smaller"):
        load_batch([tmp_path / "a.png"], backbone, 574, **given)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_what_memory_does_not_hold_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    picture(1, (80, 40)).save(tmp_path / name)
    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    with pytest.raises(ValueError, match=r"1 photo of it needs .* may be used"):
        load_batch([tmp_path / name], load_backbone("da3-tiny", weights="random"), budget=1000)
    assert not decoded


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_photos_read_one_by_one_are_those_read_together(tmp_path: Path, name: str) -> None:
    """To the bit, whatever their shapes: what is cropped or padded follows from all of them."""
    sizes = {"a.jpg": (1600, 1200), "b.png": (900, 1200), "c.jpg": (333, 251), "d.png": (96, 64)}
    for seed, (file, size) in enumerate(sizes.items()):
        picture(seed, size).save(tmp_path / file)
    paths, backbone = [tmp_path / file for file in sizes], load_backbone(name, weights="random")
    found = load_batch(paths, backbone, 112)
    together = [decode_photo(path, at_least=224).image for path in paths]
    assert torch.equal(found.images, preprocess(together, backbone, size=112).images)
    assert found.sizes == tuple(sizes.values())


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
@pytest.mark.parametrize("size", [(1600, 1200), (400, 900), (260, 1500), (1500, 260), (150, 1700)])
def test_no_photo_is_read_at_fewer_pixels_than_the_network_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    """Whatever its shape: what a family cuts off is not what it makes the size of."""
    picture(1, size).save(tmp_path / "a.png")
    read: list[Reduced] = []

    def decoded(path: Path, *, at_least: int) -> Reduced:
        read.append(decode_photo(path, at_least=at_least))
        return read[-1]

    monkeypatch.setattr("recon_backbones.photos.batch.decode_photo", decoded)
    mapping = load_batch([tmp_path / "a.png"], load_backbone(name, weights="random"), 112).maps[0]
    assert mapping.scale_x * read[0].factor < 1.05 and mapping.scale_y * read[0].factor < 1.05


def test_one_photo_is_in_memory_as_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        picture(seed, (640, 480)).save(tmp_path / f"{seed}.png")
    alive: weakref.WeakSet[Watched] = weakref.WeakSet()
    most = []

    def decoded(path: Path, *, at_least: int) -> Reduced:
        photo = decode_photo(path, at_least=at_least)
        pixels = np.array(photo.image).view(Watched)
        alive.add(pixels)
        most.append(len(alive))
        return replace(photo, image=pixels)

    monkeypatch.setattr("recon_backbones.photos.batch.decode_photo", decoded)
    backbone = load_backbone("da3-tiny", weights="random")
    load_batch([tmp_path / f"{seed}.png" for seed in range(5)], backbone, 112)
    assert max(most) <= 2


class ByPlace(DepthAnything3):
    """Sees photos one place after the other, without going through them."""

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """As its family does."""
        usual = super().preprocessing(size)
        return lambda photos: usual([photos[i] for i in range(len(photos))])


def test_a_broken_photo_is_named_however_photos_are_gone_through(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:80])
    for backbone in (ByPlace("by-place", da3_tiny()), load_backbone("da3-tiny", weights="random")):
        assert load_batch([tmp_path / "a.png"], backbone, 112).images.shape[1] == 1
        with pytest.raises(ValueError, match=r"b\.png: is broken"):
            load_batch([tmp_path / "a.png", tmp_path / "b.png"], backbone, 112)


def test_photos_are_announced_and_told_one_by_one(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    steps: list[int] = []

    @contextmanager
    def progress(what: str, count: int) -> Iterator[Advance]:
        steps.append(-count)
        yield lambda: steps.append(1)

    backbone = load_backbone("da3-tiny", weights="random")
    load_batch([tmp_path / "a.png"] * 3, backbone, 112, telling=Telling(progress=progress))
    assert steps == [-3, 1, 1, 1]
    with pytest.raises(ValueError, match="paths is empty"):
        load_batch([], backbone)
    with pytest.raises(ValueError, match="paths='photos'; it must be a list of photos: give"):
        load_batch("photos", backbone)


def test_links_out_of_the_tree_are_followed_and_dead_ones_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        picture(seed).save(tmp_path / f"elsewhere/{seed}.png")
        (tmp_path / f"photos/link {seed}.png").symlink_to(f"../elsewhere/{seed}.png")
    found = find_photos([tmp_path / "photos"])
    assert [path.name for path in found] == ["link 0.png", "link 1.png"]
    (tmp_path / "photos/z.png").symlink_to("../nowhere.png")
    with pytest.raises(ValueError, match=r"z.png is a link to nothing"):
        find_photos([tmp_path / "photos"])


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos/left").mkdir(parents=True)
    for seed, folder in enumerate(("elsewhere", "photos/left")):
        picture(seed).save(tmp_path / folder / "a.png")
    (tmp_path / "photos/right").symlink_to("../elsewhere")
    (tmp_path / "photos/left/up").symlink_to("..")
    found = find_photos([tmp_path / "photos"], recursive=True)
    assert sorted(path.resolve().parent.name for path in found) == ["elsewhere", "left"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refused(path: str) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    (tmp_path / "locked").mkdir()
    for seed in range(2):
        picture(seed).save(tmp_path / f"{seed}.png")
    monkeypatch.setattr(os, "scandir", refused)
    assert len(find_photos([tmp_path])) == 2
    with pytest.raises(PermissionError, match="locked"):
        find_photos([tmp_path], recursive=True)


def test_a_folder_of_folders_points_to_those_with_photos(tmp_path: Path) -> None:
    (tmp_path / "scene/images").mkdir(parents=True)
    picture(1).save(tmp_path / "scene/images/a.png")
    with pytest.raises(
        ValueError, match=r"holds no photo \(scene\).*name .*scene/images, which holds some"
    ):
        find_photos([tmp_path])


def sharp_and_blurred(folder: Path, count: int) -> list[Path]:
    """Photos of which every third is sharp."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        image = picture(number, (256, 192), sharp=True)
        (image if number % 3 == 1 else image.filter(ImageFilter.GaussianBlur(9))).save(path)
    return paths


def test_copies_are_left_out_and_told(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    picture(2).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    found = select_views(sorted(tmp_path.iterdir()), max_views=None)
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    assert [path.name for path in found.left_out["a copy of another"]] == ["c.png"]


def test_of_neighbors_the_sharpest_is_taken(tmp_path: Path) -> None:
    paths = sharp_and_blurred(tmp_path, 30)
    chosen = select_views(paths, max_views=6).paths
    assert sum(int(path.stem) % 3 == 1 for path in chosen) >= 5
    numbers = [int(path.stem) for path in chosen]
    assert numbers == sorted(set(numbers))
    assert max(np.diff(numbers)) <= 9  # 29 / 5 apart, and at most half of that nearer or farther


def test_blurred_photos_are_dropped_only_when_asked(tmp_path: Path) -> None:
    paths = sharp_and_blurred(tmp_path, 6)[1:3] + sharp_and_blurred(tmp_path, 6)[4:5]
    assert len(select_views(paths, max_views=None).paths) == 3
    found = select_views(paths, max_views=None, drop_blurred=0.3)
    assert [path.stem for path in found.paths] == ["1", "4"]
    assert [path.stem for path in found.left_out["blurred"]] == ["2"]


@settings(deadline=None, max_examples=40)
@given(count=st.integers(2, 12), wanted=st.integers(2, 12))
def test_no_more_views_than_asked_for(
    tmp_path_factory: pytest.TempPathFactory, count: int, wanted: int
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(count):
        picture(number, (20, 20)).save(folder / f"{number:02d}.png")
    chosen = select_views(sorted(folder.iterdir()), max_views=wanted).paths
    assert len(chosen) == min(count, wanted)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 15 frames a second; of every five frames the third is sharp."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (96, 64))
    for number in range(30):
        image = picture(number // 5).transform(
            (96, 64), Image.Transform.AFFINE, (1, 0, number % 5, 0, 1, 0)
        )
        if number % 5 != 2:
            image = image.filter(ImageFilter.GaussianBlur(4))
        writer.write(np.asarray(image)[:, :, ::-1].copy())
    writer.release()
    return path


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (PhotoChoice(fps=3.0), 6),
        (PhotoChoice(frames=6), 6),
        (PhotoChoice(), 30),
        (PhotoChoice(fps=15.0), 30),
        (PhotoChoice(frames=2), 2),
    ],
)
def test_frames_are_as_many_as_asked_for(
    tmp_path: Path, video: Path, options: PhotoChoice, count: int
) -> None:
    found = extract_frames(video, tmp_path / "frames", options)
    assert len(found) == count
    assert sorted(found) == found == sorted((tmp_path / "frames").iterdir())


def test_the_sharpest_frame_of_each_stretch_is_taken(tmp_path: Path, video: Path) -> None:
    found = extract_frames(video, tmp_path / "frames", PhotoChoice(frames=6))
    assert [int(path.stem) for path in found] == [2, 7, 12, 17, 22, 27]
    assert np.asarray(Image.open(found[0])).shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (PhotoChoice(frames=31), "30 frames; 31"),
        (PhotoChoice(fps=60.0), "15 frames a second; fps=60 asks for more"),
        (PhotoChoice(fps=0.5), "1 would be taken"),
    ],
)
def test_frames_that_a_video_does_not_have_are_refused(
    tmp_path: Path, video: Path, options: PhotoChoice, part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        extract_frames(video, tmp_path / "frames", options)


def test_a_video_named_by_its_time_is_a_file_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 15.0, (96, 64))
    for number in range(4):
        writer.write(np.asarray(picture(number).resize((96, 64))))
    writer.release()
    named = Path("clip.mp4").rename("12:30.mp4")
    assert len(extract_frames(named, tmp_path / "frames", PhotoChoice(frames=2))) == 2


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match=r"clip.mp4.*no video"):
        extract_frames(tmp_path / "clip.mp4", tmp_path / "frames", PhotoChoice())
    assert not (tmp_path / "frames").exists()
