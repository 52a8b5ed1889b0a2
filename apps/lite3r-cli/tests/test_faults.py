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
