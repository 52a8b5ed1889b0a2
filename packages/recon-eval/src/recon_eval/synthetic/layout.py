"""Write a scene to disk as BlendedMVS does (Yao et al., CVPR 2020), for the real loader to read."""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from recon_eval.checks import without_autocast
from recon_eval.formats import Camera, write_cam_txt, write_pfm
from recon_eval.sets.scene import Scene

PLANES = 128  # depths between the nearest and the farthest, as BlendedMVS has them


def write_blendedmvs(scene: Scene, root: Path) -> Path:
    """Write `root/<name>/{blended_images, cams, rendered_depth_maps}` and return that folder.

    Images become JPEG, depth PFM (0 where invalid), cameras cam.txt with pixel centers at whole
    numbers, pair.txt the other views by how much of a view they see.

    Raises ValueError if the scene lacks depth or cameras, FileExistsError if the folder is there.
    """
    depth, valid = scene.depth, scene.valid
    if depth is None or valid is None or scene.world_to_camera is None or scene.intrinsics is None:
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
        write_pfm(folder / "rendered_depth_maps" / f"{stem}.pfm", depth[view].numpy())
        seen = depth[view][valid[view]]
        _write_camera(folder / "cams" / f"{stem}_cam.txt", scene, view, seen)
    (folder / "cams" / "pair.txt").write_text(_pair_text(overlap(scene)))
    return folder


@without_autocast
def overlap(scene: Scene) -> Float[Tensor, "v v"]:
    """Return the fraction of each view's valid pixels that project into each other view's image."""
    depth, cameras, intrinsics = scene.depth, scene.world_to_camera, scene.intrinsics
    assert depth is not None and cameras is not None and intrinsics is not None
    views, height, width = depth.shape
    rows, columns = (
        torch.arange(n, dtype=depth.dtype, device=depth.device) + 0.5 for n in (height, width)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    shares = depth.new_zeros(views, views)
    for i in range(views):
        local = pixels @ torch.linalg.inv(intrinsics[i]).T * depth[i][..., None]
        points = (rearrange(local, "y x xyz -> (y x) xyz") - cameras[i, :, 3]) @ cameras[i, :, :3]
        seen = torch.einsum("vij,pj->vpi", cameras[:, :, :3], points) + cameras[:, None, :, 3]
        u, v, z = torch.einsum("vij,vpj->vpi", intrinsics, seen).unbind(-1)
        inside = (z > 0) & (u >= 0) & (v >= 0) & (u < width * z) & (v < height * z)
        usable = torch.ones_like(depth[i]) if scene.valid is None else scene.valid[i]
        usable = usable.flatten()
        shares[i] = (inside & (usable > 0)).sum(1) / usable.sum().clamp_min(1)
    return shares


def _write_image(stem: Path, image: Tensor, valid: Tensor) -> None:
    """Write the plain image, and one that is black where there is no depth."""
    for suffix, picture in ((".jpg", image), ("_masked.jpg", image * valid)):
        pixels = rearrange((picture * 255).round().to(torch.uint8), "c y x -> y x c")
        Image.fromarray(pixels.numpy()).save(
            stem.with_name(stem.name + suffix), quality=95, subsampling=0
        )


def _write_camera(path: Path, scene: Scene, view: int, depths: Tensor) -> None:
    """Write cam.txt with the tail DEPTH_MIN DEPTH_INTERVAL 128 DEPTH_MAX."""
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    camera = Camera(
        name=path.stem,
        world_to_camera=scene.world_to_camera[view].double().numpy(),
        intrinsics=scene.intrinsics[view].double().numpy(),
    )
    near, far = (float(depths.min()), float(depths.max())) if len(depths) else (0.0, 0.0)
    write_cam_txt(path, camera, depth_range=(near, far), planes=PLANES)


def _pair_text(shares: Float[Tensor, "v v"]) -> str:
    """pair.txt: for every view, at most ten others with their score, best first."""
    lines = [str(len(shares))]
    for view, row in enumerate(shares):
        order = [j for j in row.argsort(descending=True).tolist() if j != view][:10]
        lines.append(str(view))
        lines.append(" ".join([str(len(order)), *(f"{j} {1000 * row[j]:.3f}" for j in order)]))
    return "\n".join(lines) + "\n"
