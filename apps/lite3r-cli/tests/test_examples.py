"""Every program under examples/ runs and shows what it says that it shows."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon_eval import formats

FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def ran(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    path = str(FOLDER / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, *words])
    runpy.run_path(path, run_name="__main__")


def test_the_page_lists_every_example_and_a_test_runs_it() -> None:
    page = (FOLDER / "README.md").read_text()
    tests = Path(__file__).read_text()
    assert EXAMPLES
    for path in EXAMPLES:
        assert f"({path.name})" in page
        assert f'"{path.stem}"' in tests


@pytest.mark.parametrize("backbone", ["da3-tiny", "vggt-tiny"])
def test_photos_become_a_folder_that_splat_trainers_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize((60, 90) if number == 2 else (90, 60))
        turned = Image.Exif()
        turned[0x0112] = 6 if number == 2 else 1  # a camera held on its side
        photo.save(tmp_path / "in" / f"{number}.jpg", exif=turned)
    out = tmp_path / "out"
    ran("photos_to_splats", monkeypatch, str(tmp_path / "in"), str(out), backbone, "56")
    model = formats.read_colmap(out / "sparse/0")
    named = formats.read_transforms(out / "transforms.json")
    assert [camera.name for camera in model.cameras] == ["0.jpg", "1.jpg", "2.jpg"]
    assert all(camera.size == (90, 60) for camera in (*model.cameras, *named))
    for camera in model.cameras:
        with Image.open(out / "images" / camera.name) as copy:
            assert copy.size == camera.size and copy.getexif().get(0x0112, 1) == 1
    assert model.cloud is not None and len(model.cloud) > 100
    for one, two in zip(model.cameras, named, strict=True):
        assert two.name == f"images/{one.name}"
        np.testing.assert_allclose(one.world_to_camera, two.world_to_camera, atol=1e-6)


def test_photos_to_splats_says_what_it_is_to_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="PHOTOS OUT"):
        ran("photos_to_splats", monkeypatch)


def test_a_sparse_transformer_comes_nearer_to_its_dense_self(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("own_transformer_sparse", monkeypatch, "512", "30")
    said = capsys.readouterr().out
    before, after = map(float, re.findall(r"([\d.]+) before, ([\d.]+) after", said)[0])
    assert 0 < after < before


def test_a_linear_model_in_fp8_is_small_and_equal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("own_linear_fp8", monkeypatch, "5")
    said = capsys.readouterr().out
    before, after = map(int, re.findall(r"(\d+) bytes in float32, (\d+) deployed", said)[0])
    assert after < 0.3 * before
    assert "read back: equal" in said


def test_a_metric_of_ones_own_stands_in_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("own_metric", monkeypatch, "2")
    said = capsys.readouterr().out
    values = dict(re.findall(r"(\w+): ([\d.]+) \(", said))
    assert float(values["abs_rel"]) < 0.1 < float(values["edge_sharpness"]) < 0.9


@pytest.mark.parametrize("scenes", ["0", "1"])
def test_own_metric_refuses_scenes_too_few_for_an_interval(
    monkeypatch: pytest.MonkeyPatch, scenes: str
) -> None:
    with pytest.raises(SystemExit, match=f"SCENES={scenes}; .* at least 2"):
        ran("own_metric", monkeypatch, scenes)
