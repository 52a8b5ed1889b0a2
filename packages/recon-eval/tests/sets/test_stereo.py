"""Stereo pairs: written by hand, broken on purpose."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon_eval import data, formats

CALIBRATION = """cam0=[100 0 4.5; 0 100 3.25; 0 0 1]
cam1=[100 0 6.5; 0 100 3.25; 0 0 1]
doffs=2
baseline=50.5
width=8
height=6
ndisp=20
"""


def pair(folder: Path, calibration: str = CALIBRATION) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 6, 8, 3), dtype=np.uint8)
    for i in range(2):
        Image.fromarray(pixels[i]).save(folder / f"im{i}.png")
    disparity = np.arange(48, dtype=np.float32).reshape(6, 8)
    disparity[0, 0] = np.inf
    formats.write_pfm(folder / "disp0.pfm", disparity)
    (folder / "calib.txt").write_text(calibration)
    return folder


def test_depth_of_a_middlebury_pair_gives_back_its_disparity(tmp_path: Path) -> None:
    scene = data.read_stereo(pair(tmp_path))
    assert scene.depth is not None and scene.valid is not None
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    assert not scene.valid[0, 0, 0] and scene.valid[0].sum() == 47
    row, column = scene.valid[0].nonzero().T
    pixels = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))])
    points = torch.linalg.inv(scene.intrinsics[0]) @ pixels * scene.depth[0, row, column]
    landed = scene.intrinsics[1] @ (points + scene.world_to_camera[1, :, 3:])
    moved = column + 0.5 - landed[0] / landed[2]
    assert torch.allclose(moved, (8 * row + column).float(), atol=1e-3)


@pytest.mark.parametrize("line", ["cam0", "doffs", "baseline"])
def test_a_calibration_that_lacks_a_line_is_refused(tmp_path: Path, line: str) -> None:
    kept = [text for text in CALIBRATION.splitlines() if not text.startswith(line)]
    with pytest.raises(ValueError, match=r"calib\.txt: .* it needs cam0"):
        data.read_stereo(pair(tmp_path, "\n".join(kept)))


def test_a_folder_that_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"calib\.json"):
        data.read_stereo(tmp_path)
    (tmp_path / "calib.json").write_text(json.dumps({"fx": 1}))
    with pytest.raises(ValueError, match="needs fx, cx"):
        data.read_stereo(tmp_path)
