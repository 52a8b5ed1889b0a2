"""An objective that is learned site by site, each on what the teacher's site was given."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from distill.attention import weighted_mean
from distill.losses import LossName, find_loss
from distill.objectives.base import Observation, check_weight
from distill.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class LocalAttention:
    """Match the teacher's attention outputs, each site fed with the input of the teacher's.

    While the teacher runs, each paired module of the student is called with the arguments that
    the teacher's module just got; loss and gradient are taken at once, and activations and
    target are dropped before the next site runs. Memory is that of one site, whatever the
    number of layers, and the student itself makes no pass. In return no site learns to make up
    for the errors of those before it.

    The modules of a pair must take the same arguments. To match attention before its output
    projection, pair the modules in front of that projection.

    Args:
        pairs: Which modules; empty stands for the pairs given to `distill`.
        loss: "mse", "relative_mse" or "cosine".
        weight: Factor in the total loss.
        name: Name in logs.

    Raises:
        ValueError: A pair reads inputs, the loss is unknown, or the weight is not positive.
    """

    pairs: tuple[Pair, ...] = ()
    loss: LossName = "relative_mse"
    weight: float = 1.0
    name: str = "local"
    fields: tuple[str, ...] = ()
    reads_outputs: bool = False

    def __post_init__(self) -> None:
        check_weight(self.name, self.weight)
        find_loss(self.loss)
        if wrong := [pair.student for pair in self.pairs if pair.at != "output"]:
            raise ValueError(
                f'LocalAttention compares outputs, and these pairs have at="input": {wrong}. '
                "Pair the modules that put that tensor out."
            )

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs."""
        return weighted_mean(seen.local[self.name])
