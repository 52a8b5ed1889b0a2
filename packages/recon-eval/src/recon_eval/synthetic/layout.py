"""Write a scene to disk as BlendedMVS does (Yao et al., CVPR 2020), for the real loader to read."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from recon_eval.sets.scene import Scene


def write_blendedmvs(scene: Scene, root: Path) -> Path:
    """Write `root/<name>/{blended_images, cams, rendered_depth_maps}` and return that folder.

    Images become JPEG, depth PFM (0 where invalid), cameras cam.txt with pixel centers at whole
    numbers, pair.txt the other views by how much of a view they see.

    Raises ValueError if the scene lacks depth or cameras, FileExistsError if the folder is there.
    """
    depth, valid = scene.depth, scene.valid
    cameras, intrinsics = scene.world_to_camera, scene.intrinsics
    if depth is None or valid is None or cameras is None or intrinsics is None:
        raise ValueError(
            f"{scene.name}: lacks depth, valid or cameras; this layout needs all: give a drawn "
            "scene"
        )
    folder = root / scene.name
    for part in ("blended_images", "cams", "rendered_depth_maps"):
        (folder / part).mkdir(parents=True)
    depth = depth.where(valid, 0)
    for view in range(scene.num_views):
        stem = f"{view:08d}"
        _write_image(folder / "blended_images" / stem, scene.images[view], valid[view])
        _write_pfm(folder / "rendered_depth_maps" / f"{stem}.pfm", depth[view])
        text = _camera_text(cameras[view], intrinsics[view], depth[view][valid[view]])
        (folder / "cams" / f"{stem}_cam.txt").write_text(text)
    (folder / "cams" / "pair.txt").write_text(_pair_text(overlap(scene)))
    return folder


def overlap(scene: Scene) -> Float[Tensor, "v v"]:
    """Return the fraction of each view's valid pixels that project into each other view's image."""
    depth, cameras, intrinsics = scene.depth, scene.world_to_camera, scene.intrinsics
    assert depth is not None and cameras is not None and intrinsics is not None
    views, height, width = depth.shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    shares = torch.zeros(views, views)
    for i in range(views):
        local = pixels @ torch.linalg.inv(intrinsics[i]).T * depth[i][..., None]
        points = (rearrange(local, "y x xyz -> (y x) xyz") - cameras[i, :, 3]) @ cameras[i, :, :3]
        seen = torch.einsum("vij,pj->vpi", cameras[:, :, :3], points) + cameras[:, None, :, 3]
        u, v, z = torch.einsum("vij,vpj->vpi", intrinsics, seen).unbind(-1)
        inside = (z > 0) & (u >= 0) & (v >= 0) & (u < width * z) & (v < height * z)
        usable = torch.ones(height * width) if scene.valid is None else scene.valid[i].flatten()
        shares[i] = (inside & (usable > 0)).sum(1) / usable.sum().clamp_min(1)
    return shares


def _write_image(stem: Path, image: Tensor, valid: Tensor) -> None:
    """Write the plain image, and one that is black where there is no depth."""
    for suffix, picture in ((".jpg", image), ("_masked.jpg", image * valid)):
        pixels = rearrange((picture * 255).round().to(torch.uint8), "c y x -> y x c")
        Image.fromarray(pixels.numpy()).save(
            stem.with_name(stem.name + suffix), quality=95, subsampling=0
        )


def _write_pfm(path: Path, depth: Tensor) -> None:
    """Write gray PFM, little-endian, bottom row first."""
    height, width = depth.shape
    rows = np.ascontiguousarray(depth.numpy()[::-1], dtype="<f4")
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + rows.tobytes())


def _camera_text(world_to_camera: Tensor, intrinsics: Tensor, depths: Tensor) -> str:
    """cam.txt with the tail DEPTH_MIN DEPTH_INTERVAL 128 DEPTH_MAX."""
    last_row = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    whole = intrinsics - torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    near, far = (float(depths.min()), float(depths.max())) if len(depths) else (0.0, 0.0)
    tail = f"{near!r} {(far - near) / 127!r} 128 {far!r}"
    extrinsic = _rows(torch.cat([world_to_camera, last_row]))
    return f"extrinsic\n{extrinsic}\n\nintrinsic\n{_rows(whole)}\n\n{tail}\n"


def _rows(matrix: Tensor) -> str:
    return "\n".join(" ".join(repr(float(x)) for x in row) for row in matrix)


def _pair_text(shares: Float[Tensor, "v v"]) -> str:
    """pair.txt: for every view, at most ten others with their score, best first."""
    lines = [str(len(shares))]
    for view, row in enumerate(shares):
        order = [j for j in row.argsort(descending=True).tolist() if j != view][:10]
        lines.append(str(view))
        lines.append(" ".join([str(len(order)), *(f"{j} {1000 * row[j]:.3f}" for j in order)]))
    return "\n".join(lines) + "\n"
