"""Errors of points and tracks of a small VGGT on drawn rooms that it never saw.

    python apps/lite3r-cli/benchmarks/teacher_tracks.py --weights bundled \
        --into benchmarks/results/teacher-vggt-tiny.json

Points lie in the frame of the first view; one scale, by medians, is found for each scene. One pixel
in each cell of a grid of 8 x 8 over the first view is followed to the views that see its place;
*standing still* answers with the pixel itself. The rows go into the file of the teacher's exams.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from teacher_photos import add
from torch import Tensor

from recon_backbones import Backbone, load_backbone
from recon_backbones.training import make_targets
from recon_backbones.training.pupils.tracks import followed
from recon_backbones.training.targets import world_points
from recon_eval.data import Scene, drawn_scenes

NEAR = 8.0  # pixels


@torch.inference_mode()
def judged(backbone: Any, scene: Scene) -> dict[str, Tensor]:
    """Relative errors of points; pixels off of tracks, and of standing still, where seen."""
    truth = make_targets(
        *(t[None] for t in (scene.depth, scene.world_to_camera, scene.intrinsics, scene.valid))
    )
    images, goal = scene.images[None], followed(truth)
    made, true = backbone(images, with_points=True).points, world_points(truth)
    far = true.norm(dim=-1)
    scale = far.median() / made.norm(dim=-1).median()
    found = backbone.track(images, goal.at[:, 0])
    seen = goal.seen[:, 1:]
    off, still = (
        (at - goal.at).norm(dim=-1)[:, 1:][seen] for at in (found.passes[-1], goal.at[:, :1])
    )
    return {
        "points": ((made * scale - true).norm(dim=-1) / far.clamp_min(0.1))[truth.valid],
        "tracks": off,
        "still": still,
        "visible": ((found.visibility[:, 1:] > 0.5) == seen).flatten().float(),
    }


def measure(backbone: Backbone, options: argparse.Namespace) -> dict[str, Any]:
    """Medians and shares over all scenes."""
    scenes = drawn_scenes(
        "test", count=options.scenes, views=options.views, size=options.size, seed=0
    )
    each = [judged(backbone, scene) for scene in scenes]
    of = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    return {
        "data": "rooms",
        "scenes": len(each),
        "views": options.views,
        "size": options.size,
        "points_relative_error_median": float(of["points"].median()),
        "tracks_pixels_off_median": float(of["tracks"].median()),
        "tracks_within_8_pixels": float((of["tracks"] < NEAR).float().mean()),
        "standing_still_pixels_off_median": float(of["still"].median()),
        "standing_still_within_8_pixels": float((of["still"] < NEAR).float().mean()),
        "visibility_right": float(of["visible"].mean()),
    }


def main() -> None:
    """Measure, and write the rows beside the exams of the teacher."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    backbone = load_backbone("vggt-tiny", weights=options.weights)
    add(options.into, "points_and_tracks", measure(backbone, options))


if __name__ == "__main__":
    main()
