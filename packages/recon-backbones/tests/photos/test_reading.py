"""Photos of a scene are read one by one, told, and refused where memory does not hold them."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFile

from recon_backbones import load_backbone
from recon_backbones.da3 import DepthAnything3, da3_tiny
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.photos import decode_photo, load_batch, preprocess
from recon_backbones.photos.decode import Reduced
from recon_backbones.telling import Advance, Telling

from .pictures import picture


class Watched(np.ndarray):
    """Pixels that can be weakly referenced, by identity."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


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
