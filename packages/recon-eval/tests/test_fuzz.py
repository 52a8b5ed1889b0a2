"""Whatever bytes a file holds, it is read or refused with its name: no other error, no pickle."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from recon_eval import data, formats
from recon_eval.dtu.observation import read_observation
from recon_eval.formats import read_npy, read_npz

on_disk = settings.get_profile("on_disk")
damages = st.lists(
    st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4
)
cuts = st.one_of(st.none(), st.floats(0, 1))
Damage = list[tuple[float, bytes]]


def damaged(raw: bytes, damage: Damage, cut: float | None) -> bytes:
    broken = bytearray(raw)
    for place, content in damage:
        start = int(place * (len(raw) - 1))
        broken[start : start + len(content)] = content
    return bytes(broken if cut is None else broken[: int(cut * len(broken))])


def photograph(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({} if kind == "BMP" else {"exif": exif}))
    return buffer.getvalue()


PHOTOGRAPHS = {kind: photograph(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP")}


@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it can still read
@pytest.mark.parametrize("kind", PHOTOGRAPHS)
@given(damage=damages, cut=cuts)
@on_disk
def test_photographs(tmp_path: Path, kind: str, damage: Damage, cut: float | None) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(damaged(PHOTOGRAPHS[kind], damage, cut))
    try:
        image = formats.read_image(path)
        assert image.shape[0] == 3 and torch.isfinite(image).all()
    except ValueError as error:
        assert str(path) in str(error)
    try:
        data.Photos(tmp_path, at_least=1)
    except ValueError as error:
        assert str(path) in str(error)


def mat(folder: Path, *, compressed: bool) -> bytes:
    grid = np.random.default_rng(0).random((4, 5, 6)) < 0.5
    box = np.array([[0.0, 0, 0], [4, 5, 6]])
    values = {"ObsMask": grid, "BB": box, "Res": 1.0, "P": np.ones((4, 1))}
    savemat(folder / "whole.mat", values, do_compression=compressed)
    return (folder / "whole.mat").read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
@given(damage=damages, cut=cuts)
@on_disk
def test_masks(tmp_path: Path, compressed: bool, damage: Damage, cut: float | None) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(damaged(mat(tmp_path, compressed=compressed), damage, cut))
    try:
        assert read_observation(path, path).mask.ndim == 3
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("compressed", [False, True])
@given(damage=damages, cut=cuts)
@on_disk
def test_arrays(tmp_path: Path, compressed: bool, damage: Damage, cut: float | None) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "whole.npz", a=np.arange(50.0), b=np.eye(4))
    np.save(tmp_path / "whole.npy", np.eye(5))
    for read, name in ((read_npz, "whole.npz"), (read_npy, "whole.npy")):
        path = tmp_path / f"a{Path(name).suffix}"
        path.write_bytes(damaged((tmp_path / name).read_bytes(), damage, cut))
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(100_000))
    monkeypatch.setattr("recon_eval.formats.arrays.MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="unpacks to"):
        read_npz(tmp_path / "a.npz")


def test_a_mask_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    savemat(tmp_path / "a.mat", {"ObsMask": np.zeros((40, 40, 40))}, do_compression=True)
    monkeypatch.setattr("recon_eval.dtu.mat.MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="cut off or longer than 10000 bytes"):
        read_observation(tmp_path / "a.mat", tmp_path / "a.mat")
