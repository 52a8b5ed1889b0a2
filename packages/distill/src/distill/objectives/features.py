"""Objectives that compare what paired modules put out."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import PairObjective
from distill.observe.observation import Observation
from distill.record.comparison import pair_losses, weighted_mean
from distill.record.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class AttentionOutputs(PairObjective):
    """Match the attention outputs (Lite3R, arXiv 2605.11354: partial attention distillation).

    - `pairs`: which modules; empty stands for the pairs given to `distill`.
    - `loss`: "mse", "relative_mse", "cosine" or "distance".
    - `weight`, `name`: factor in the total loss, and name in logs.
    """

    name: str = "attention"

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs."""
        return weighted_mean(pair_losses(self.pairs, self.loss, seen.student, seen.teacher))


@dataclass(frozen=True, kw_only=True)
class Features(AttentionOutputs):
    """Match what chosen modules of teacher and student put out.

    - `pairs`: which modules; these have to be named.
    - `loss`, `weight`, `name`: as in `AttentionOutputs`.
    """

    pairs: tuple[Pair, ...]
    name: str = "features"
