"""Rectified stereo pairs with a true disparity map, as Middlebury 2014 has them.

    im0.png, im1.png, disp0.pfm, calib.txt          the data set's own layout
    *_left.png, *_right.png, *_disp.npz, calib.json  the pair that scikit-image carries

Source: D. Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth",
GCPR 2014. Depth is baseline * focal / (disparity + doffs), in the unit of the baseline (mm).
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from recon_eval.formats.arrays import read_npz
from recon_eval.formats.files import (
    MAX_TEXT,
    SEEN,
    parse_json,
    read_bounded,
    read_text,
    require_folder,
)
from recon_eval.formats.images import read_image
from recon_eval.formats.pfm import read_pfm
from recon_eval.sets.scene import Scene


@dataclass(frozen=True, kw_only=True)
class StereoCalibration:
    """A rectified pair: focal length, principal point of the left image, and their difference.

    All but `baseline` in pixels; `offset` is the right principal point's column less the left
    one's.
    """

    focal: float
    column: float
    row: float
    offset: float
    baseline: float

    def __post_init__(self) -> None:
        values = (self.focal, self.column, self.row, self.offset, self.baseline)
        if not (all(map(math.isfinite, values)) and self.focal > 0 and self.baseline > 0):
            raise ValueError(
                f"focal={self.focal}, baseline={self.baseline}; they must be above 0, all "
                "finite: take those of the data set"
            )


def read_stereo(folder: str | Path) -> Scene:
    """Read a pair as a scene of two views; the left camera is the world, the right has no depth."""
    folder = require_folder(folder, "a rectified stereo pair")
    if (folder / "calib.txt").is_file():
        calibration = _read_middlebury(folder / "calib.txt")
        left, right = folder / "im0.png", folder / "im1.png"
        disparity = read_pfm(folder / "disp0.pfm")
    else:
        calibration = _read_json(folder / "calib.json")
        left, right = _only(folder, "*_left.png"), _only(folder, "*_right.png")
        disparity = _read_npz(_only(folder, "*_disp.npz"))
    images = torch.stack([read_image(left), read_image(right)])
    if disparity.shape != tuple(images.shape[2:]):
        raise ValueError(
            f"{folder}: disparity is {disparity.shape}; images are "
            f"{tuple(images.shape[2:])}: copy it again"
        )
    return _scene(folder.name, images, disparity, calibration)


def _scene(
    name: str, images: torch.Tensor, disparity: Float[np.ndarray, "y x"], c: StereoCalibration
) -> Scene:
    total = torch.from_numpy(disparity.astype(np.float64)) + c.offset
    known = torch.isfinite(total) & (total > 0)
    depth = (c.baseline * c.focal / total.where(known, 1)).where(known, 0).float()
    left = depth.new_tensor([[c.focal, 0, c.column + 0.5], [0, c.focal, c.row + 0.5], [0, 0, 1]])
    right = left.clone()
    right[0, 2] += c.offset
    cameras = torch.eye(3, 4, dtype=depth.dtype, device=depth.device).repeat(2, 1, 1)
    cameras[1, 0, 3] = -c.baseline
    return Scene(
        name=name,
        images=images,
        depth=torch.stack([depth, torch.zeros_like(depth)]),
        valid=torch.stack([known, torch.zeros_like(known)]),
        world_to_camera=cameras,
        intrinsics=torch.stack([left, right]),
    )


def _read_middlebury(path: Path) -> StereoCalibration:
    text = read_text(path)
    found = dict(re.findall(r"^(\w+)=(.+?)\s*$", text, flags=re.MULTILINE))
    try:
        camera = [float(word) for word in re.findall(r"[-+.\deE]+", found["cam0"])]
        focal, _, column, _, _, row = camera[:6]
        offset, baseline = float(found["doffs"]), float(found["baseline"])
        return StereoCalibration(
            focal=focal, column=column, row=row, offset=offset, baseline=baseline
        )
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: is no calibration ({error}); it needs cam0=[...], doffs= and baseline=: "
            "copy it again"
        ) from None


def _read_json(path: Path) -> StereoCalibration:
    found = parse_json(read_bounded(path, MAX_TEXT), path)
    try:
        focal, column, row, offset, baseline = (
            float(found[name]) for name in ("fx", "cx", "cy", "doffs", "baseline_mm")
        )
        return StereoCalibration(
            focal=focal, column=column, row=row, offset=offset, baseline=baseline
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: is no calibration ({error}); it needs fx, cx, cy, doffs, baseline_mm: "
            "copy it again"
        ) from None


def _read_npz(path: Path) -> Float[np.ndarray, "y x"]:
    values = read_npz(path).get("arr_0")
    if values is None or values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(
            f"{path}: holds no disparity map; it must hold arr_0 with rows and columns: copy "
            "it again"
        )
    return values


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(SEEN + pattern))
    if len(found) != 1:
        raise ValueError(
            f"{folder}: holds {len(found)} files {pattern}; it must hold one: leave one there"
        )
    return found[0]
