"""Tiny photos, tiny runs, and the command line as a user calls it."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lite3r.main import main

TINY = (
    *("distill", "--weights", "random", "--steps", "2", "--eval-scenes", "1"),
    *("--size", "84", "--views", "2", "--recipe", "tiles", "--many-views", "0"),
)


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    def refuses(self, *parts: str) -> None:
        """Assert that it is a refusal that names every part, without a traceback."""
        text = " ".join(self.err.replace("│", " ").split())
        assert self.code == 2, text
        assert "Traceback" not in text
        for part in parts:
            assert part in text, text


class Program:
    """The command line in an empty folder, on a terminal 200 characters wide."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str | Path) -> Answer:
        """Run a command line."""
        self._capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = self._capfd.readouterr()
        return Answer(code, out, err)

    def distill(self, *words: str | Path) -> Answer:
        """Run a distillation of a second or two; `words` come last and win."""
        return self(*TINY, *words)


@dataclass(frozen=True)
class Finished:
    """A run of `Program.distill` that every test may have a copy of."""

    folder: Path
    printed: str

    def copied(self, to: str | Path = "run") -> Path:
        """Its folder under another name."""
        return Path(shutil.copytree(self.folder, to))


@pytest.fixture(scope="session", autouse=True)
def timed_once() -> Iterator[None]:
    """Let a report rest on one timing a model: how long models take here is not the question."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lite3r.distillation.report.REPEATS", 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_drawn() -> Iterator[None]:
    """Let students be calibrated on one small drawn scene: how well is not the question."""
    from recon_eval.data import SyntheticScenes  # with PyTorch, which handing out tests needs not

    images = SyntheticScenes("train", count=1, views=2, height=56, width=56)[0].images[None]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lite3r.student.axes._drawn", lambda size: [images])
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*TINY, "--out", str(folder), "--json"]) == 0
    return Finished(folder, printed.getvalue())


@pytest.fixture
def lite3r(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Program:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Program(capfd)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small networks have as few blocks as their heads can read: each is traced anew."""
    from recon_backbones import registry
    from recon_backbones.da3 import DepthAnything3, da3_tiny
    from recon_backbones.vggt import Vggt, vggt_tiny

    few: dict[str, Any] = {"depth": 4, "out_layers": (0, 1, 2, 3)}
    fewer = few | {"dino_depth": 1, "camera_depth": 1, "camera_iterations": 2}
    for name, build in {
        "da3-tiny": lambda: DepthAnything3("da3-tiny", replace(da3_tiny(), **few)),
        "vggt-tiny": lambda: Vggt("vggt-tiny", replace(vggt_tiny(), **fewer)),
    }.items():
        entry = replace(registry.backbone_entry(name), build=build, bundled=None)
        monkeypatch.setitem(registry._ENTRIES, name, entry)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos of different shapes: two landscape, one portrait, one turned by its EXIF tag."""
    folder = tmp_path / "Fotos à côté"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in {"1.png": (90, 60), "2.jpg": (60, 90), "10.jpg": (120, 80)}.items():
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    turned = Image.new("RGB", (60, 90), (200, 120, 40))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(folder / "3 gedreht.jpg", exif=exif)
    return folder
