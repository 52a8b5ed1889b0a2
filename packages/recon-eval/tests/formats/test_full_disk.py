"""On a disk that takes no more, every writer raises, keeps the old file and leaves no rest."""

import errno
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recon_eval import Report, formats

CLOUD = formats.PointCloud(
    points=np.random.default_rng(0).random((5000, 3)),
    colors=np.zeros((5000, 3), np.uint8),
)
CAMERAS = [
    formats.Camera(
        name=f"{i:04d}.jpg",
        world_to_camera=np.eye(3, 4),
        intrinsics=np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]),
        size=(64, 48),
    )
    for i in range(100)
]
DEPTH = np.random.default_rng(0).random((60, 80), dtype=np.float32) + 1
SEEN = formats.Observations(
    camera=np.zeros(5000, np.int64), point=np.arange(5000), xy=np.ones((5000, 2))
)


def long_report() -> Report:
    """More than a full disk takes, in few scenes."""
    made = Report(model="it", dataset="synthetic", seed=0)
    made.drop("scene", 500 * "long ")
    return made


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.ply": lambda path: formats.write_ply(path, CLOUD),
    "a.glb": lambda path: formats.write_glb(path, CLOUD, CAMERAS),
    "a.npz": lambda path: formats.write_npz(path, {"a": DEPTH}),
    "a.pfm": lambda path: formats.write_depth(path, DEPTH),
    "a.npy": lambda path: formats.write_depth(path, DEPTH),
    "a.tiff": lambda path: formats.write_depth(path, DEPTH),
    "a.png": lambda path: formats.write_depth(path, DEPTH, unit=1e-4),
    "transforms.json": lambda path: formats.write_transforms(path, CAMERAS),
    "report.json": lambda path: long_report().save(path),
    "report.md": lambda path: long_report().save(path),
    "images.bin": lambda path: formats.write_colmap(path.parent, CAMERAS, CLOUD, SEEN),
}


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let the system refuse, as a full disk does, what is written beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_keeps_the_old_file_and_leaves_no_rest(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(OSError), no_file_longer_than(1000):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    WRITERS[name](path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.ply", "a.npz", "a.npy", "a.png", "a.tiff", "transforms.json"])
def test_what_a_full_disk_did_not_take_is_named_where_it_was_to_be(
    tmp_path: Path, name: str
) -> None:
    """The system's own error says no name, and files are begun under other ones."""
    with (
        pytest.raises(OSError) as told,
        formats.replaced_folder(tmp_path / "out") as partial,
        no_file_longer_than(1000),
    ):
        WRITERS[name](partial / name)
    assert told.value.filename == str(tmp_path / "out" / name)
    with pytest.raises(FileNotFoundError) as told, formats.replaced_folder(tmp_path / "out"):
        (tmp_path / "elsewhere").read_bytes()
    assert told.value.filename == str(tmp_path / "elsewhere")


def refusing(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> list[str]:
    """Let these calls of `os.replace`, counted from 1, fail as on a disk without permission."""
    called: list[str] = []
    replace = os.replace

    def refused(source: Path, target: Path) -> None:
        called.append(str(target))
        if len(called) in numbers:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    return called


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_that_cannot_be_replaced_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    called = refusing(monkeypatch, number)
    with pytest.raises(PermissionError), formats.replaced_folder(path) as partial:
        (partial / "new").touch()
    assert len(called) >= number
    assert [p.name for p in path.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_where_a_folder_cannot_be_put_back_the_error_says_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    refusing(monkeypatch, 2, 3)
    with (
        pytest.raises(OSError, match=r"Permission denied.* move it back") as told,
        formats.replaced_folder(path),
    ):
        pass
    (place,) = re.findall(r"whole in (\S+): move", str(told.value))
    assert [p.name for p in Path(place).iterdir()] == ["old"]
