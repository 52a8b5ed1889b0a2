"""Processed photos equal those of both upstream loaders, pixel by pixel."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recon_backbones.blocks.patches import imagenet_normalize
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.photos.decode import read_photos
from recon_backbones.vggt.preprocess import VggtPreprocess

ROOT = Path(__file__).parent / "fixtures" / "preprocess"
EXPECTED = json.loads((ROOT / "expected.json").read_text())
TENSORS = load_file(ROOT / "expected.safetensors")
LANDSCAPE, PORTRAIT = "landscape_160x120.png", "portrait_90x150.png"
ODD, WIDE = "landscape2_161x119.png", "wide_rgba_150x64.png"
VGGT_PHOTOS = {
    "crop.landscape": (LANDSCAPE,),
    "crop.portrait": (PORTRAIT,),
    "crop.wide_rgba": (WIDE,),
    "crop.mixed": (LANDSCAPE, WIDE),
    "pad.landscape": (LANDSCAPE,),
    "pad.portrait": (PORTRAIT,),
    "pad.mixed": (LANDSCAPE, PORTRAIT, WIDE),
    "square256": (LANDSCAPE, PORTRAIT),
}
DA3_PHOTOS = {
    "landscape": (LANDSCAPE,),
    "portrait": (PORTRAIT,),
    "odd": (ODD,),
    "mixed": (LANDSCAPE, PORTRAIT, ODD),
}
PHOTO_INTRINSICS = torch.tensor([[150.0, 0.0, 79.5], [0.0, 140.0, 61.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("case", VGGT_PHOTOS)
def test_vggt_pixels_equal_upstream(case: str) -> None:
    mode: Any = case.partition(".")[0]
    method = (
        VggtPreprocess(mode="square", size=256) if "square" in mode else VggtPreprocess(mode=mode)
    )
    done = method(read_photos([ROOT / name for name in VGGT_PHOTOS[case]]))
    stacked = np.stack([image for image, _ in done]).transpose(0, 3, 1, 2)
    assert list(stacked.shape) == EXPECTED["vggt"][case]["shape"]
    digest = hashlib.sha256(np.ascontiguousarray(stacked).tobytes()).hexdigest()
    assert digest == EXPECTED["vggt"][case]["sha256_uint8_NCHW"]


def test_vggt_square_maps_equal_upstream() -> None:
    method = VggtPreprocess(mode="square", size=256)
    done = method(read_photos([ROOT / name for name in VGGT_PHOTOS["square256"]]))
    for (_, m), row in zip(done, TENSORS["vggt.square256.coords"].tolist(), strict=True):
        right = m.shift_x + m.scale_x * m.photo[1]
        bottom = m.shift_y + m.scale_y * m.photo[0]
        assert (m.shift_x, m.shift_y, right, bottom) == pytest.approx(tuple(row[:4]), abs=1e-4)
        assert (m.photo[1], m.photo[0]) == tuple(row[4:])


@pytest.mark.parametrize("case", EXPECTED["da3"])
def test_da3_pixels_and_intrinsics_equal_upstream(case: str) -> None:
    how, size, photos = case.split(".")
    method = DA3Preprocess(method=how, size=int(size))  # type: ignore[arg-type]
    done = method(read_photos([ROOT / name for name in DA3_PHOTOS[photos]]))
    stacked = torch.from_numpy(np.stack([image for image, _ in done])).permute(0, 3, 1, 2)
    assert list(stacked.shape) == EXPECTED["da3"][case]["shape"]
    if f"da3.{case}" in TENSORS:
        pixels = imagenet_normalize(stacked.float() / 255)[..., ::9, ::9]
        torch.testing.assert_close(pixels, TENSORS[f"da3.{case}"], atol=1e-6, rtol=0)
    intrinsics = torch.stack([m.intrinsics_from_photo(PHOTO_INTRINSICS) for _, m in done])
    torch.testing.assert_close(intrinsics, TENSORS[f"da3.{case}.K"], atol=1e-3, rtol=0)
