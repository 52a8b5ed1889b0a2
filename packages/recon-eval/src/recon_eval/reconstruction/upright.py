"""A frame in which a scene looks upright: y up, the cameras looking along -z on average."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recon_eval.reconstruction.view import View


def upright(views: Sequence[View]) -> Float[np.ndarray, "3 3"]:
    """Rotation from the world into that frame; up is the mean of what is up in the photos."""
    poses = np.stack([view.camera_to_world[:3, :3] for view in views])
    up = _unit(-poses[:, :, 1].mean(axis=0), np.array([0.0, -1.0, 0.0]))
    ahead = poses[:, :, 2].mean(axis=0)
    back = _unit(-(ahead - up * (ahead @ up)), np.cross(up, np.eye(3)[np.abs(up).argmin()]))
    return np.stack([np.cross(up, back), up, back])


def _unit(
    vector: Float[np.ndarray, "3"], instead: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """The direction of `vector`, or of `instead` where it has none."""
    chosen = vector if np.linalg.norm(vector) > 1e-6 else instead
    unit: Float[np.ndarray, 3] = chosen / np.linalg.norm(chosen)
    return unit
