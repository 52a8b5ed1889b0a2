"""A disk that refuses at any moment: a sentence, the old result whole, and nothing half-written."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CALLS = ("fsync", "rename", "replace")


class Disk:
    """Counts the calls that make files durable, and refuses those from the `first`th on."""

    def __init__(self) -> None:
        self.count, self.first, self.number = 0, 10**9, errno.EIO

    def call(self, real: Any) -> Any:
        def called(*args: Any, **words: Any) -> Any:
            self.count += 1
            if self.count >= self.first:
                raise OSError(self.number, os.strerror(self.number), str(args[0]))
            return real(*args, **words)

        return called

    @contextmanager
    def refusing(self, first: int, number: int) -> Iterator[None]:
        self.count, self.first, self.number = 0, first, number
        yield
        self.first = 10**9


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    for name in CALLS:
        monkeypatch.setattr(os, name, made.call(getattr(os, name)))
    return made


@contextmanager
def full_after(name: str) -> Iterator[None]:
    """A disk that is full as a file of this name is written: the system names no file then."""
    real = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **words: Any) -> Any:
        if name in path.name and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *rest, **words)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", opened)
        yield


@pytest.mark.parametrize("name", ["points.ply", "scene.glb", "points3D.bin"])
def test_a_full_disk_is_told_with_the_file_and_the_way_out(
    lite3r: Any, photos: Path, name: str
) -> None:
    words = ("reconstruct", photos, "--weights", "random", "--size", "28", "--out", "out")
    with full_after(name):
        answer = lite3r(*words, "--formats", "ply", "glb", "colmap")
    said = f": {os.strerror(errno.ENOSPC)}: make room, or write elsewhere"
    answer.refuses(f"{name}{said}")
    assert f"lite3r: {Path('out').absolute()}/" in answer.err  # not the folder it was begun in
    assert not Path("out").exists()


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_disk_that_refuses_leaves_the_old_reconstruction_whole(
    lite3r: Any, disk: Disk, photos: Path
) -> None:
    words = ("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    words += ("--formats", "npz", "ply", "colmap", "--overwrite")
    assert lite3r(*words).code == 0
    with disk.refusing(10**9, errno.EIO):
        assert lite3r(*words).code == 0
        count = disk.count
    assert count > 4
    before = content(Path("out"))
    for first, number in {
        1: errno.ENOSPC, count // 2: errno.EROFS, count - 1: errno.EACCES, count: errno.EIO,
    }.items():  # fmt: skip
        with disk.refusing(first, number):
            answer = lite3r(*words)
        assert answer.code == 2, answer.err
        assert os.strerror(number) in answer.err and "Traceback" not in answer.err
        (kept,) = Path().rglob("prediction.npz")
        if kept.parent != Path("out"):  # a disk that refuses even to take it back
            assert re.search(
                rf"whole in \S*{re.escape(str(kept.parent))}: move it back", answer.err
            )
            kept.parent.replace("out")
        assert content(Path("out")) == before
