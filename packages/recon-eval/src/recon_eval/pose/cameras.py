"""What a world-to-camera matrix must satisfy before anything is measured from it."""

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import rig_of

ORTHOGONALITY = 1e-3  # largest entry of R R^T - I; float32 network outputs stay below 1e-5


def check_rigs(
    predicted: Float[Tensor, "v _ 4"], target: Float[Tensor, "w _ 4"], *, at_least: int
) -> tuple[Float[Tensor, "v 3 4"], Float[Tensor, "v 3 4"]]:
    """Return both rigs as `v 3 4`, the predicted one where the true one is.

    Raises ValueError where they cannot be compared view by view, or hold no cameras.
    """
    predicted, target = rig_of(predicted, "predicted"), rig_of(target, "target")
    if predicted.shape != target.shape or len(target) < at_least:
        raise ValueError(
            f"predicted, target={len(predicted)}, {len(target)} views; both must have the "
            f"same v of at least {at_least}: leave such scenes out"
        )
    check_cameras(predicted, "predicted")
    check_cameras(target, "target")
    return predicted.to(target.device), target


def check_cameras(world_to_camera: Float[Tensor, "v 3 4"], name: str) -> None:
    """Raise ValueError where a matrix is not finite, not orthonormal, or mirrors.

    Such matrices are usually camera-to-world, scaled, or in another layout, and every angle taken
    from them would be wrong without notice.
    """
    cameras = world_to_camera.double()
    finite = torch.isfinite(cameras).all(-1).all(-1)
    if not bool(finite.all()):
        bad = (~finite).nonzero()[:, 0].tolist()
        raise ValueError(
            f"{name}: views {bad} hold NaN or infinity; poses must be finite: leave these views out"
        )
    rotation = cameras[:, :, :3]
    eye = torch.eye(3, dtype=torch.float64, device=rotation.device)
    gap = (rotation @ rotation.mT - eye).abs().amax((1, 2))
    wrong = (gap > ORTHOGONALITY) | (torch.det(rotation) <= 0)
    if bool(wrong.any()):
        view = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{name}: view {view} is not a rotation; |R R^T - I| is {float(gap[view]):.2g} "
            f"(at most {ORTHOGONALITY}) and det R is "
            f"{float(torch.det(rotation[view])):.3g} (must be 1): give rigid "
            "world-to-camera matrices"
        )
