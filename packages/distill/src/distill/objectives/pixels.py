"""Objectives that compare depth and rays, the outputs with one value a pixel."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import FieldObjective
from distill.observe.observation import Observation
from distill.record.checks import check_place, check_tensor

SMALLEST_DEPTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Pixels(FieldObjective):
    """An objective with one value a pixel, which a confidence may weigh."""

    confidence: str | None

    @property
    def fields(self) -> tuple[str, ...]:
        """The output and, where it weighs, the confidence."""
        return (self.field, self.confidence) if self.confidence else (self.field,)


@dataclass(frozen=True, kw_only=True)
class Depth(_Pixels):
    """Match the logarithm of the teacher's depth, in the mean of the absolute difference.

    - `field`: output with z-depth, any shape; depths below 1e-6 count as 1e-6.
    - `confidence`: output with the teacher's confidence, of the same shape, that weighs the
      pixels; None weighs all alike.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    field: str = "depth"
    confidence: str | None = "depth_conf"
    name: str = "depth"

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean of |log student - log teacher|."""
        logs = [depth.clamp_min(SMALLEST_DEPTH).log() for depth in self.both(seen)]
        return weighted_pixels((logs[0] - logs[1]).abs(), seen, self.confidence)


@dataclass(frozen=True, kw_only=True)
class Rays(_Pixels):
    """Match the teacher's ray of every pixel, in the mean of the absolute difference.

    - `field`: output with direction and origin on the last axis.
    - `confidence`: output with the teacher's confidence, one axis fewer, that weighs the rays;
      None weighs all alike.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    field: str = "rays"
    confidence: str | None = "rays_conf"
    name: str = "rays"

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean of |student - teacher|."""
        student, teacher = self.both(seen)
        return weighted_pixels((student - teacher).abs().mean(-1), seen, self.confidence)


def weighted_pixels(
    values: Float[Tensor, "*pixels"], seen: Observation, confidence: str | None
) -> Float[Tensor, ""]:
    """Return the mean of the values, weighed by an output of the teacher where one is named.

    Raises ValueError if the confidence has another shape than the values.
    """
    if confidence is None:
        return values.mean()
    weights = check_tensor(confidence, seen.teacher_fields[confidence])
    check_place(confidence, weights, "values", values)
    weights = weights.to(values)
    if weights.shape != values.shape:
        raise ValueError(
            f"{confidence}={tuple(weights.shape)}; it must have the shape of the values that it "
            f"weighs, {tuple(values.shape)}: name another confidence, or None"
        )
    return (values * (weights / weights.mean())).mean()
