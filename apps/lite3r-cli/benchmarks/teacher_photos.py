r"""Errors of a teacher on real photos that it never saw: cameras of a fountain, depth of a pair.

    python apps/lite3r-cli/benchmarks/teacher_photos.py --fountain FOLDER --motorcycle FOLDER \
        --weights before=OLD.safetensors after=bundled \
        --into benchmarks/results/teacher-da3-tiny.json

The first holds `images` and `cams` (MVSNet's) of fountain-P11 (Strecha et al. 2008); the second
`motorcycle_left.png`, `motorcycle_right.png`, `motorcycle_disp.npz` and `calib.json` of the pair of
Middlebury 2014 (Scharstein et al.) at a quarter of its size. The rows go into the file of the
teacher's exams, under the names given.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from refine_cameras import as_seen, fountain
from torch import Tensor

from recon_backbones import Backbone, Prediction, load_backbone
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos import Prepared, find_photos, load_batch
from recon_eval import depth, pose

SIZES = (224, 280, 504)  # pixels of the longer side


def answered(photos: list[Path], backbone: Backbone, size: int) -> tuple[Prediction, Prepared]:
    """What the network itself says: each photo has a lens of its own."""
    prepared = load_batch(photos, backbone, size)
    with torch.inference_mode():
        return backbone(prepared.images), prepared


def about(prepared: Prepared, data: str) -> dict[str, Any]:
    """What was seen, and at which size."""
    views, _, height, width = prepared.images[0].shape
    return {"data": data, "size": f"{width} x {height}", "views": views}


def cameras_of(folder: Path, backbone: Backbone, size: int) -> dict[str, Any]:
    """Errors of all pairs of cameras, and of focal lengths."""
    photos, (truth, lenses, _) = fountain(folder)
    made, prepared = answered(find_photos([photos]), backbone, size)
    found = pose.evaluate(made.world_to_camera[0].double(), truth)
    focal = made.intrinsics[0].double()
    zoom = torch.tensor([one.scale_x for one in prepared.maps])
    true = lenses[:, 0, 0] * zoom
    return {
        **about(prepared, "fountain-P11"),
        "rotation_degrees": found.rotation_mean_degrees,
        "direction_degrees": found.direction_mean_degrees,
        "auc30": found.auc[30],
        "focal_x_over_y": float((focal[:, 0, 0] / focal[:, 1, 1]).median()),
        "focal_over_truth": float((focal[:, 0, 0] / true).median()),
    }


def depth_of(folder: Path, backbone: Backbone, size: int) -> dict[str, Any]:
    """Errors of the depth of the left photo, beside those of a constant depth."""
    photos = [folder / f"motorcycle_{side}.png" for side in ("left", "right")]
    made, prepared = answered(photos, backbone, size)
    found, truth = made.depth[0, :1], exact(folder, prepared.maps[0])[None]
    judged = depth.evaluate(found, truth)
    affine = depth.evaluate(found, truth, alignment="affine_l1")
    return {
        **about(prepared, "motorcycle"),
        "abs_rel": judged.abs_rel,
        "delta1": judged.delta1,
        "abs_rel_affine_l1": affine.abs_rel,
        "constant_abs_rel": depth.evaluate(torch.ones_like(truth), truth).abs_rel,
    }


def exact(folder: Path, seen: PixelMap) -> Tensor:
    """True depth, in millimeters, at the middles of the pixels that the network saw."""
    lens = json.loads((folder / "calib.json").read_text(encoding="utf-8"))
    with np.load(folder / "motorcycle_disp.npz") as stored:
        disparity = stored[stored.files[0]]
    known = lens["baseline_mm"] * lens["fx"] / (disparity + lens["doffs"])
    known = torch.from_numpy(np.where(np.isfinite(disparity), known, 0.0)).float()
    return as_seen(known, seen)


def measure(options: argparse.Namespace, weights: str) -> Iterator[dict[str, Any]]:
    """A row for each kind of photos and each size."""
    backbone = load_backbone(options.backbone, weights=weights)
    for size in SIZES:
        yield cameras_of(options.fountain, backbone, size)
        yield depth_of(options.motorcycle, backbone, size)


def add(path: Path, name: str, told: dict[str, Any]) -> None:
    """Put what was told into the file of a teacher's exams, under a name."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    record[name] = told
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, and write the rows beside the exams of the teacher."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fountain", type=Path, required=True)
    parser.add_argument("--motorcycle", type=Path, required=True)
    parser.add_argument("--backbone", default="da3-tiny")
    parser.add_argument("--weights", nargs="+", required=True, metavar="NAME=WEIGHTS")
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    named = dict(pair.split("=", 1) for pair in options.weights)
    told = {name: list(measure(options, weights)) for name, weights in named.items()}
    add(options.into, "photographs", told)


if __name__ == "__main__":
    main()
