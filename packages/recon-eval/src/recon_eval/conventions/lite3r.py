"""The metrics of Lite3R (arXiv 2605.11354), as its public code defines them.

Depth: prediction and truth are raised to at least 0.001, one least-squares scale over all pixels of
all views, then means over all pixels; NaN below 100 valid pixels.

Pose: view-0-relative world-to-camera matrices, averaged over *all* views, view 0 with its error of
zero included: with two views every number is half the error of the pair. The translation error is
in the data set's unit, after one least-squares scale that may be negative, so that a camera on the
wrong side can score 0.

Unit: `normalize` divides lengths by the larger of the median depth and the farthest camera's |t| in
the views that were drawn, which depends on the draw and on where the world has its origin.

Geometry: clouds of up to 50 000 random points in whatever scale the model has. "Chamfer" is half
the sum of the mean *squared* distances, "F5cm" the F-score at 0.05 of the data set's unit. Both
mostly measure a wrong scale.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_eval.align import camera_centers
from recon_eval.checks import Axes, without_autocast
from recon_eval.conventions.named import NamedResult
from recon_eval.points.chamfer import CHAMFER, two_way_distances
from recon_eval.points.fusion import back_project
from recon_eval.pose.angles import rotation_angle_degrees
from recon_eval.pose.cameras import check_rigs
from recon_eval.sets.scene import Scene

MIN_DEPTH = 1e-3
MIN_PIXELS = 100
MAX_POINTS = 50_000
F_THRESHOLD = 0.05
DEPTH_METRICS = ("abs_rel", "delta1", "delta2", "delta3", "rmse")


def normalize(scene: Scene) -> Scene:
    """Return the views of one sample in the unit that the published code gives them."""
    cameras = scene.world_to_camera
    if cameras is None:
        raise ValueError(
            f"{scene.name}: has no cameras; the unit comes from them: give a scene with cameras"
        )
    unit = float(cameras[:, :, 3].norm(dim=-1).max())
    if scene.depth is not None and scene.valid is not None and bool(scene.valid.any()):
        unit = max(unit, float(scene.depth[scene.valid].median()))
    if not unit > 0:
        raise ValueError(
            f"{scene.name}: has no depth and stands at the origin; the unit is the larger of "
            "both: give true depth"
        )
    moved = torch.cat([cameras[:, :, :3], cameras[:, :, 3:] / unit], dim=-1)
    depth = None if scene.depth is None else scene.depth / unit
    return replace(scene, depth=depth, world_to_camera=moved)


def evaluate_depth(
    predicted: Float[Tensor, "v y x"],
    target: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"],
) -> NamedResult:
    """Return AbsRel, delta1 to delta3 and RMSE of the views of one sample."""
    axes = Axes()
    axes.check(predicted, "predicted", "v y x")
    axes.check(target, "target", "v y x")
    axes.check(valid, "valid", "v y x", boolean=True)
    d, g = (x.double().clamp_min(MIN_DEPTH)[valid] for x in (predicted, target))
    if len(d) < MIN_PIXELS:
        values = dict.fromkeys(DEPTH_METRICS, math.nan)
        return NamedResult(protocol="lite3r/depth", values=values, facts={"valid": len(d)})
    scale = float((d * g).sum() / (d * d).sum().clamp_min(1e-8))
    d = d * scale
    ratio = torch.maximum(d / g, g / d)
    values = {f"delta{k}": float((ratio < 1.25**k).double().mean()) for k in (1, 2, 3)}
    values["abs_rel"] = float(((d - g).abs() / g).mean())
    values["rmse"] = float(((d - g) ** 2).mean().sqrt())
    facts: dict[str, object] = {"alignment": "scale_l2", "scale": scale, "valid": len(d)}
    return NamedResult(protocol="lite3r/depth", values=values, facts=facts)


def evaluate_pose(
    predicted_world_to_camera: Float[Tensor, "v _ 4"],
    target_world_to_camera: Float[Tensor, "v _ 4"],
) -> NamedResult:
    """Return `rot_err_deg` and `trans_err` of one sample."""
    predicted, target = check_rigs(predicted_world_to_camera, target_world_to_camera, at_least=1)
    rotation, t = _relative_to_first(predicted)
    true_rotation, true_t = _relative_to_first(target)
    scale = float((t * true_t).sum() / (t * t).sum().clamp_min(1e-8))
    values = {
        "rot_err_deg": float(rotation_angle_degrees(rotation, true_rotation).mean()),
        "trans_err": float((scale * t - true_t).norm(dim=-1).mean()),
    }
    facts: dict[str, object] = {"alignment": "scale_l2", "scale": scale, "views": len(t)}
    return NamedResult(protocol="lite3r/pose", values=values, facts=facts)


def evaluate_geometry(
    predicted: Float[Tensor, "p 3"], target: Float[Tensor, "q 3"], *, seed: int = 0
) -> NamedResult:
    """Return `chamfer` and `fscore` of two clouds, without aligning them.

    The published code draws its points without a seed; here `seed` fixes them.
    """
    generator = torch.Generator().manual_seed(seed)
    a, c = two_way_distances(_draw(predicted, generator), _draw(target, generator))
    precision, recall = ((gaps < F_THRESHOLD).mean() for gaps in (a, c))
    both = float(precision + recall)
    values = {
        "chamfer": CHAMFER["half_sum_of_squares"](a, c),
        "fscore": 2 * float(precision * recall) / both if both >= 1e-6 else 0.0,
    }
    facts = {"predicted_points": len(a), "target_points": len(c), "seed": seed}
    return NamedResult(
        protocol="lite3r/geometry", values=values, facts={"alignment": "none", **facts}
    )


@without_autocast
def evaluate_sample(
    depth: Float[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v _ 4"],
    intrinsics: Float[Tensor, "v 3 3"],
    scene: Scene,
    *,
    seed: int = 0,
) -> list[NamedResult]:
    """Return what the published code reports of one sample, for what its truth holds.

    - `depth`, `world_to_camera`, `intrinsics`: predicted, in the model's own unit.
    - `scene`: truth in any unit; `normalize` is done here.

    Both clouds are brought into the frame of their first camera, and not aligned otherwise.
    Raises ValueError where the scene has no cameras.
    """
    truth = normalize(scene)
    assert truth.world_to_camera is not None
    found = [evaluate_pose(world_to_camera, truth.world_to_camera)]
    if truth.depth is None or truth.valid is None or truth.intrinsics is None:
        return found
    found.append(evaluate_depth(depth, truth.depth, truth.valid))
    everywhere = torch.ones_like(truth.valid)
    cloud = back_project(depth, everywhere, world_to_camera, intrinsics).points
    target = back_project(truth.depth, truth.valid, truth.world_to_camera, truth.intrinsics).points
    # Both in the frame of their first camera: no alignment is no reason for another origin.
    clouds = (
        _seen_from(c, e[0]) for c, e in ((cloud, world_to_camera), (target, truth.world_to_camera))
    )
    found.append(evaluate_geometry(*clouds, seed=seed))
    return found


def _seen_from(points: Float[Tensor, "p 3"], camera: Float[Tensor, "_ 4"]) -> Float[Tensor, "p 3"]:
    camera = camera.to(points)
    moved: Tensor = points @ camera[:3, :3].T + camera[:3, 3]
    return moved


def _relative_to_first(cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and translation of E_i E_0^-1."""
    rotation = cameras[:, :, :3].double() @ cameras[0, :, :3].double().T
    center = camera_centers(cameras)[0]
    shift = cameras[:, :, :3].double() @ center + cameras[:, :, 3].double()
    return rotation, shift


def _draw(points: Tensor, generator: torch.Generator) -> Tensor:
    if len(points) <= MAX_POINTS:
        return points
    return points[
        torch.randperm(len(points), generator=generator, device="cpu")[:MAX_POINTS].to(
            points.device
        )
    ]
