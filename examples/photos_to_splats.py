"""From photos to a folder that Gaussian-splatting trainers read.

    python examples/photos_to_splats.py PHOTOS OUT [BACKBONE] [SIZE]

OUT gets `images/`, `sparse/0/` (COLMAP, with tracks) and `transforms.json` with `points.ply`
(nerfstudio). `lite3r reconstruct` does the same with masks, budgets and meters.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recon_backbones import Reconstruction, load_backbone, reconstruct
from recon_eval import formats, points

ORIENTATION = 0x0112  # of EXIF: how a photo is to be turned; 1 is upright


def main(photos: str, out: str, backbone: str = "da3-tiny", size: str = "224") -> None:
    """Reconstruct, and write both layouts."""
    weights = "bundled" if backbone in ("da3-tiny", "vggt-tiny") else "hub"
    made = reconstruct(photos, load_backbone(backbone, weights=weights), size=int(size))
    folder = Path(out)
    for name in made.photos:
        copy = folder / "images" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.root / name, copy)
        with Image.open(copy) as stored:
            turned = stored.getexif().get(ORIENTATION, 1) != 1
        if turned:  # cameras are of upright photos, and trainers turn none
            formats.open_image(made.root / name).save(copy, quality=95)
    cloud = cloud_of(made)
    seen = cameras(made, made.intrinsics_seen, [made.depth.shape[:0:-1]] * len(made))
    whole = cameras(made, made.intrinsics, made.sizes)
    sightings = points.find_sightings(cloud.points, seen, np.where(made.keep, made.depth, 0))
    observed = points.observe(cloud.points, sightings, whole)
    formats.write_colmap(folder / "sparse/0", whole, cloud, observed)
    named = cameras(made, made.intrinsics, made.sizes, below="images/")
    formats.write_ply(folder / "points.ply", cloud)
    formats.write_transforms(folder / "transforms.json", named, points="points.ply")
    print(f"{folder}: {len(made)} cameras, {len(cloud)} points, lengths in {made.unit}")


def cameras(
    made: Reconstruction,
    intrinsics: np.ndarray,
    sizes: Iterable[tuple[int, int]],
    below: str = "",
) -> list[formats.Camera]:
    """One camera a photo, in the pixels that `sizes` (width, height) speak of."""
    parts = zip(made.photos, made.world_to_camera, intrinsics, sizes, strict=True)
    return [
        formats.Camera(name=below + name, world_to_camera=pose, intrinsics=lens, size=size)
        for name, pose, lens, size in parts
    ]


def cloud_of(made: Reconstruction, most: int = 100_000) -> formats.PointCloud:
    """Every pixel that is kept, as a point in the world; at most `most` of them."""
    poses, lenses = torch.from_numpy(made.world_to_camera), torch.from_numpy(made.intrinsics_seen)
    depth, keep = torch.from_numpy(made.depth).double(), torch.from_numpy(made.keep)
    lifted = points.back_project(depth, keep, poses, lenses).draw(most, seed=0)
    view, y, x = lifted.pixels.T.numpy()
    return formats.PointCloud(
        points=lifted.points.numpy(),
        colors=made.images[view, y, x],
        confidence=made.confidence[view, y, x],
    )


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
