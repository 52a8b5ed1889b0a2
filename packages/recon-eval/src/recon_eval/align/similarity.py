"""Similarity transforms between two clouds of corresponding points, with a guard on their rank.

Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point
patterns", PAMI 13(4), 1991. Everything is computed in float64.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes, matrices_of

MIN_SPREAD = 1e-3  # second over first singular value: below it a cloud is a point or a line


class DegenerateAlignment(ValueError):
    """The points do not determine a rotation: fewer than three, coincident, or on one line."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The map p -> scale * rotation @ p + translation, and how well the points determined it.

    `spread` is the smaller over both clouds of the second over the first singular value of the
    centered points: 0 on a line, 1 for a disc. `method` names the estimator that was used,
    `support` is the share of the points that it rests on, and `seed` decided its random draws, if
    any.
    """

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    spread: float
    method: str = "umeyama"
    support: float = 1.0
    seed: int | None = None

    def provenance(self) -> dict[str, object]:
        """Return what a number after this alignment rests on, ready for JSON."""
        return {
            "alignment": self.method,
            "alignment_seed": self.seed,
            "scale": self.scale,
            "spread": self.spread,
            "support": self.support,
        }

    def then(self, after: "Similarity") -> "Similarity":
        """Return the map that applies this one first and `after` to its result."""
        return Similarity(
            scale=after.scale * self.scale,
            rotation=after.rotation @ self.rotation,
            translation=after.apply(self.translation),
            spread=min(self.spread, after.spread),
            method=f"{self.method}+{after.method}",
            support=min(self.support, after.support),
            seed=self.seed if after.seed is None else after.seed,
        )

    def apply(self, points: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p 3"]:
        """Map points; the result is float64."""
        return self.scale * points.double() @ self.rotation.T + self.translation

    def apply_to_cameras(self, world_to_camera: Float[Tensor, "*v _ 4"]) -> Float[Tensor, "*v 3 4"]:
        """Move cameras into the target's world; depths seen by them grow by `scale`."""
        cameras = matrices_of(world_to_camera, "world_to_camera")
        rotation = cameras[..., :3].double() @ self.rotation.T
        centers = self.apply(camera_centers(cameras))
        return torch.cat([rotation, -rotation @ centers[..., None]], dim=-1)


def alignment_facts(fit: Similarity | None) -> dict[str, object]:
    """Return the provenance of an alignment, or of none."""
    return {"alignment": "none"} if fit is None else fit.provenance()


def camera_centers(world_to_camera: Float[Tensor, "*v _ 4"]) -> Float[Tensor, "*v 3"]:
    """Return where the cameras stand, in world coordinates and float64.

    The center is solved for: far from the origin, a rotation that is one to seven digits would move
    it by much. NaN or infinity where a matrix has no inverse.
    """
    cameras = matrices_of(world_to_camera, "world_to_camera").double()
    return -torch.linalg.solve_ex(cameras[..., :3], cameras[..., 3:]).result[..., 0]


def umeyama(
    source: Float[Tensor, "p 3"],
    target: Float[Tensor, "p 3"],
    *,
    weights: Float[Tensor, " p"] | None = None,
    with_scale: bool = True,
    min_spread: float = MIN_SPREAD,
) -> Similarity:
    """Return the similarity that takes `source` to `target` with the least squared distance.

    Raises DegenerateAlignment where either cloud has fewer than three points or a spread below
    `min_spread`, as such a fit has a small residual and an arbitrary rotation.
    """
    axes = Axes()
    axes.check(source, "source", "p 3")
    axes.check(target, "target", "p 3")
    if weights is not None:
        axes.check(weights, "weights", "p")
    x, y = source.double(), target.double()
    w = _normalized(weights, x)
    _check_points(x, y)
    for name, points, dtype in (("source", x, source.dtype), ("target", y, target.dtype)):
        check_extent(points, dtype, name)
    mean_x, mean_y = w @ x, w @ y
    x, y = x - mean_x, y - mean_y
    width = min(spread(x, w), spread(y, w))
    if not width >= min_spread:
        raise DegenerateAlignment(
            f"points: the spread across their main direction is {width:.2g} of that along it, and "
            f"must be at least {min_spread:.2g}: points on a line do not fix a rotation. Use more "
            "points, or align_cameras, which falls back on the orientations"
        )
    u, s, vt = torch.linalg.svd((y * w[:, None]).T @ x)
    sign = torch.ones(3, dtype=torch.float64, device=x.device)
    sign[2] = torch.sign(torch.det(u) * torch.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    scale = float((s * sign).sum() / (w @ (x * x).sum(-1))) if with_scale else 1.0
    return Similarity(
        scale=scale,
        rotation=rotation,
        translation=mean_y - scale * rotation @ mean_x,
        spread=width,
    )


def _normalized(weights: Tensor | None, points: Tensor) -> Tensor:
    if weights is None:
        return points.new_full((len(points),), 1 / max(len(points), 1))
    w = weights.double()
    if not bool((w >= 0).all()) or not bool(w.sum() > 0):
        raise ValueError(
            "weights: some are below 0, or all are 0; they must be at least 0, and not all 0: "
            "leave them out to count all alike"
        )
    return w / w.sum()


def resolution(points: Float[Tensor, "p 3"], dtype: torch.dtype) -> float:
    """How finely `dtype` resolves the place of the point that is farthest from the origin."""
    return torch.finfo(dtype).eps * float(points.norm(dim=-1).max())


def check_extent(points: Float[Tensor, "p 3"], dtype: torch.dtype, name: str) -> None:
    """Raise DegenerateAlignment where points differ by no more than the rounding of `dtype`.

    Such a cloud has a shape, but only of rounding errors: its scale would be arbitrary.
    """
    extent = float((points - points.mean(0)).norm(dim=-1).max())
    rounding = 64 * resolution(points, dtype)
    if not extent > rounding:
        raise DegenerateAlignment(
            f"{name}: all {len(points)} stand in one place (within {extent:.2g}; {dtype} there "
            f"resolves {rounding:.2g}), so there is no scale to fit. Compare rotations only "
            "(pose.evaluate), or use views with a baseline"
        )


def _check_points(x: Tensor, y: Tensor) -> None:
    if len(x) < 3:
        raise DegenerateAlignment(
            f"points: {len(x)} given; a similarity needs at least 3 that are not on one line"
        )
    for name, points in (("source", x), ("target", y)):
        if not bool(torch.isfinite(points).all()):
            raise ValueError(
                f"{name}: holds NaN or infinity; points must be finite: drop such points and "
                "their partners"
            )


def spread(centered: Float[Tensor, "p 3"], weights: Float[Tensor, " p"]) -> float:
    """Return the second over the first singular value of centered points; 0 on a line."""
    values = torch.linalg.svdvals(centered * weights.to(centered.device).sqrt()[:, None])
    if not float(values[0]) > 0:
        return 0.0
    return float(values[1] / values[0]) if len(values) > 1 else 0.0
