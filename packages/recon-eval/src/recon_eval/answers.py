"""What a network answers for one scene, held against the truth or against another answer."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from recon_eval import depth as depths
from recon_eval import pose
from recon_eval.sets.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network answers for the views of one scene; None for what it does not answer."""

    depth: Float[Tensor, "v y x"]
    world_to_camera: Float[Tensor, "v 3 4"] | None = None
    intrinsics: Float[Tensor, "v 3 3"] | None = None


def against_truth(
    scene: Scene, *, depth: Float[Tensor, "v y x"], world_to_camera: Float[Tensor, "v 3 4"]
) -> list[Any]:
    """Results for what the truth of a scene holds, ready for `Report.add`.

    Depth: one median scale for all views. Poses: all pairs of views. Raises ValueError where the
    scene has neither true depth nor true cameras of two views.
    """
    found: list[Any] = []
    if scene.depth is not None:
        found.append(depths.evaluate(depth.float(), scene.depth, scene.valid))
    if scene.world_to_camera is not None and scene.num_views > 1:
        found.append(pose.evaluate(world_to_camera.float(), scene.world_to_camera))
    if not found:
        raise ValueError(
            f"{scene.name}: has neither true depth nor true cameras; one is needed to compare "
            "with: give a scene with truth"
        )
    return found


def against_another(
    depth: Float[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v 3 4"],
    other_depth: Float[Tensor, "v y x"],
    other_world_to_camera: Float[Tensor, "v 3 4"],
) -> dict[str, float]:
    """How far one answer is from another; no truth is needed.

    - `depth_change`: median relative change of depth; `pose_agreement`: AUC@30 of the cameras with
      the other's as the truth, where there are two.

    Raises ValueError where they are no finite numbers.
    """
    other = other_depth.float()
    ratio = depth.float() / other
    if not bool((ratio.isfinite() & other.isfinite()).all()):  # a median overlooks a few
        raise ValueError(
            "depth: NaN, infinite, or beside a depth of 0; both must be finite and positive: leave "
            "such scenes out"
        )
    found = {"depth_change": float((ratio - 1).abs().median())}
    if len(world_to_camera) > 1:
        cameras = world_to_camera.float(), other_world_to_camera.float()
        found["pose_agreement"] = pose.evaluate(*cameras).numbers()["auc30"]
    return found
