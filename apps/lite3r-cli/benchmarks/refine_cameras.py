r"""Errors of cameras and depth before and after refinement: photos, exact synthetic scenes.

    python apps/lite3r-cli/benchmarks/refine_cameras.py --fountain FOLDER \
        --out benchmarks/results/refine-cameras.json

FOLDER holds `images` and `cams` (MVSNet's) of fountain-P11 (Strecha et al. 2008). Cameras start
from the bundled network, and from the truth disturbed as much as large networks err: about two
degrees, a twentieth of the distance, a twentieth of the focal length.

Depth is the network's in all rows. `tracks` is its median difference from the points that photos
share, in the refined cameras: in one unit for all views, with one factor a view, and as refinement
leaves it. Where truth is known, `abs_rel` compares with it, in one unit for all views.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lite3r.shell.environment import environment
from recon_backbones import Reconstruction, Refinement, load_backbone, reconstruct, refine_cameras
from recon_backbones.geometry.cameras import first_is_origin
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.refine.depths import Ratios
from recon_backbones.refine.model import Cameras
from recon_backbones.refine.tracks import Tracks
from recon_eval import depth, pose
from recon_eval.data import SyntheticScenes, SyntheticWorld
from recon_eval.formats import read_cameras

TURN, SHIFT, ZOOM = np.radians(2.0), 0.05, 0.05  # how far disturbed cameras are off
Truth = tuple[Tensor, Tensor, Tensor | None]  # world to camera, intrinsics, depth


def fountain(folder: Path) -> tuple[Path, Truth]:
    """Photos, and the true cameras."""
    _, cameras = read_cameras(folder / "cams")
    poses, lenses = ([getattr(c, n) for c in cameras] for n in ("world_to_camera", "intrinsics"))
    return folder / "images", (
        torch.from_numpy(np.stack(poses)),
        torch.from_numpy(np.stack(lenses)),
        None,
    )


def synthetic(folder: Path, *, scenes: int, views: int) -> Iterator[tuple[str, Path, Truth]]:
    """Rendered photos of unseen rooms and places, with exact cameras."""
    for kind, scenes_of in (("room", SyntheticScenes), ("world", SyntheticWorld)):
        for number, scene in enumerate(
            scenes_of("test", count=scenes, views=views, height=480, width=640)
        ):
            photos = folder / f"{kind}-{number}"
            photos.mkdir()
            for view, image in enumerate(scene.images):
                pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
                Image.fromarray(pixels).save(photos / f"{view:03d}.png")
            assert scene.world_to_camera is not None and scene.intrinsics is not None
            poses, lenses = scene.world_to_camera.double(), scene.intrinsics.double()
            yield photos.name, photos, (poses, lenses, scene.depth)


def disturbed(made: Reconstruction, truth: Truth, seed: int = 0) -> Reconstruction:
    """The truth, each camera turned and shifted, all focal lengths wrong by one factor."""
    generator = torch.Generator().manual_seed(seed)
    cameras = Cameras.of(first_is_origin(truth[0]), truth[1])
    reach = float((cameras.centers - cameras.centers.mean(0)).norm(dim=1).mean())
    step = torch.randn(len(cameras), 10, generator=generator, dtype=torch.float64)
    scales = [TURN / 3**0.5] * 3 + [SHIFT * reach] * 3 + [0.0] * 4
    step = step * torch.tensor(scales, dtype=torch.float64)
    step[:, 6:8] = ZOOM
    moved = cameras.moved(step)
    poses, lenses = first_is_origin(moved.world_to_camera), moved.intrinsics
    seen = [m.intrinsics_from_photo(k).numpy() for m, k in zip(made.maps, lenses, strict=True)]
    return replace(
        made,
        world_to_camera=poses.numpy(),
        intrinsics=lenses.numpy(),
        intrinsics_seen=np.stack(seen),
    )


def errors(made: Reconstruction, truth: Truth) -> dict[str, float]:
    """Of all pairs of cameras, and of focal lengths."""
    found = pose.evaluate(torch.from_numpy(made.world_to_camera), truth[0])
    focal = made.intrinsics[:, 0, 0] / truth[1][:, 0, 0].numpy()
    return {
        "rotation_mean_degrees": found.rotation_mean_degrees,
        "rotation_median_degrees": found.rotation_median_degrees,
        "direction_mean_degrees": found.direction_mean_degrees,
        "direction_median_degrees": found.direction_median_degrees,
        "auc5": found.auc[5],
        "auc5_exact": found.auc_exact[5],
        "auc30": found.auc[30],
        "focal_error": float(np.abs(np.log(focal)).mean()),
    }


def depth_errors(
    made: Reconstruction, found: Reconstruction, truth: Truth
) -> dict[str, dict[str, float]]:
    """Of depth: by its distance from the points of the tracks, and from the truth where known."""
    if found.tracked is None:
        return {}
    seen = found.tracked
    cameras = Cameras.of(
        torch.from_numpy(found.world_to_camera), torch.from_numpy(found.intrinsics)
    )
    tracks = Tracks(
        **{key: torch.from_numpy(getattr(seen, key)) for key in ("view", "point", "xy", "points")}
    )
    start, end = (Ratios.of(m, cameras, tracks) for m in (made, found))
    one = start.log - start.log.median()
    each = start.log.clone()
    for view in start.view.unique():
        each[start.view == view] -= each[start.view == view].median()
    told = {
        "tracks": {
            name: float(values.abs().median())
            for name, values in (("one_unit", one), ("one_factor_a_view", each), ("after", end.log))
        }
    }
    if truth[2] is not None:
        exact = [as_seen(d, m) for d, m in zip(truth[2], made.maps, strict=True)]
        told["abs_rel"] = {
            name: depth.evaluate(torch.from_numpy(m.depth), torch.stack(exact)).abs_rel
            for name, m in (("before", made), ("after", found))
        }
    return told


def as_seen(exact: Tensor, pixels: PixelMap) -> Tensor:
    """True depth at the middles of the pixels that the network saw."""
    rows, columns = (
        ((torch.arange(count) + 0.5 - shift) / scale).long()
        for count, scale, shift in zip(
            pixels.size,
            (pixels.scale_y, pixels.scale_x),
            (pixels.shift_y, pixels.shift_x),
            strict=True,
        )
    )
    return exact[rows][:, columns]


def measure(
    name: str, photos: Path, truth: Truth, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Each start, and each way with focal lengths, that is asked for."""
    backbone = load_backbone("da3-tiny", weights="bundled")
    network = reconstruct(photos, backbone, size=options.size)
    commit = environment()["commit"]
    for start in options.starts:
        made = network if start == "network" else disturbed(network, truth)
        for focal in options.focals:
            began = time.process_time()
            found = refine_cameras(made, Refinement(focal=focal))
            yield {
                "scene": name,
                "views": len(made),
                "start": start,
                "focal": focal,
                "before": errors(made, truth),
                "after": errors(found, truth),
                "depth": depth_errors(made, found, truth),
                "points": 0 if found.tracked is None else len(found.tracked),
                "told": dict(found.facts)["cameras refined"],
                "cpu_seconds": time.process_time() - began,
                "commit": commit,
            }


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows, and those of the file that were not measured anew."""
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    keys = ("scene", "start", "focal")
    anew = {tuple(row[key] for key in keys): row for row in rows}
    kept = {tuple(row[key] for key in keys): row for row in known}
    told = {
        "format": "lite3r-refine-cameras/2",
        "protocols": ["pose/pairs/signed", "depth/median/sequence"],
        "rows": list((kept | anew).values()),
        "environment": environment(),
    }
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, and write the JSON file after each row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fountain", type=Path, default=None)
    parser.add_argument("--scenes", type=int, default=2, help="of each synthetic kind")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    starts, focals = ("network", "disturbed truth"), ("shared", "each")
    parser.add_argument("--starts", nargs="+", choices=starts, default=starts)
    parser.add_argument("--focals", nargs="+", choices=focals, default=focals)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        scenes = []
        if options.fountain is not None:
            scenes.append(("fountain-P11", *fountain(options.fountain)))
        if options.scenes:
            scenes += synthetic(Path(scratch), scenes=options.scenes, views=options.views)
        for name, photos, truth in scenes:
            for row in measure(name, photos, truth, options):
                rows.append(row)
                write(options.out, rows)
                print(name, row["start"], row["focal"], row["told"], flush=True)


if __name__ == "__main__":
    main()
