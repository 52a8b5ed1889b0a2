"""Objectives that compare what paired modules put out."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from distill.attention import pair_losses, weighted_mean
from distill.losses import LossName, find_loss
from distill.objectives.base import Observation, check_weight
from distill.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class Features:
    """Match what chosen modules of teacher and student put out.

    Args:
        pairs: Which modules.
        loss: "mse", "relative_mse" or "cosine".
        weight: Factor in the total loss.
        name: Name in logs.
    """

    pairs: tuple[Pair, ...]
    loss: LossName = "relative_mse"
    weight: float = 1.0
    name: str = "features"
    fields: tuple[str, ...] = ()
    reads_outputs: bool = False

    def __post_init__(self) -> None:
        check_weight(self.name, self.weight)
        find_loss(self.loss)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs."""
        return weighted_mean(pair_losses(self.pairs, self.loss, seen.student, seen.teacher))


@dataclass(frozen=True, kw_only=True)
class AttentionOutputs(Features):
    """Match the attention outputs (Lite3R, arXiv 2605.11354: partial attention distillation).

    Args:
        pairs: Which modules; empty stands for the pairs given to `distill`.
    """

    pairs: tuple[Pair, ...] = ()
    name: str = "attention"
