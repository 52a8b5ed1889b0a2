"""DTU64: camera poses of 13 scans, as Depth Anything 3's benchmark evaluates them.

All photographs of a scan are given at once, number 33 first: the cameras stand on a sphere, and 33
looks from its middle. Some scans have 49 photographs and others 64, whatever the name says.
"""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from recon_eval.conventions.named import NamedResult
from recon_eval.conventions.pose_tables import evaluate_pose
from recon_eval.pose.evaluation import PoseResult, evaluate
from recon_eval.sets.dtu.dataset import DTU

FIRST = 33
THRESHOLDS = (3, 5, 15, 30)


def dtu64(root: str | Path, *, size: tuple[int, int] | None = None) -> DTU:
    """Return the 13 scans under `root`, every view of each, number 33 first.

    `size` is the (height, width) to cover and crop to. Raises FileNotFoundError where a scan is
    missing: a mean over fewer would not be the published one.
    """
    return DTU(root, "dtu64", first=FIRST, size=size)


def evaluate_poses(
    predicted_world_to_camera: Float[Tensor, "v _ 4"],
    target_world_to_camera: Float[Tensor, "v _ 4"],
) -> tuple[PoseResult, NamedResult]:
    """Return the pose metrics of a scan, and those that the benchmark publishes.

    The second depend on which view comes first (`conventions`): only they compare with its tables.
    """
    correct = evaluate(predicted_world_to_camera, target_world_to_camera, thresholds=THRESHOLDS)
    published = evaluate_pose(
        predicted_world_to_camera,
        target_world_to_camera,
        convention="da3",
        thresholds=THRESHOLDS,
    )
    return correct, published
