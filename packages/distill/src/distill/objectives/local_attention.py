"""An objective that is learned site by site, each on what the teacher's site was given."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import PairObjective
from distill.observe.observation import Observation
from distill.observe.reading import Reading
from distill.record.comparison import weighted_mean


@dataclass(frozen=True, kw_only=True)
class LocalAttention(PairObjective):
    """Match the teacher's attention outputs, each site fed with the input of the teacher's.

    While the teacher runs, each paired module of the student is called with the arguments that
    the teacher's module just got; loss and gradient are taken at once, and activations and
    target are dropped before the next site runs. Memory is that of one site, whatever the
    number of layers, and the student itself makes no pass. In return no site learns to make up
    for the errors of those before it.

    The modules of a pair must take the same arguments. To match attention before its output
    projection, pair the modules in front of that projection.

    - `pairs`: which modules; empty stands for the pairs given to `distill`.
    - `loss`: "mse", "relative_mse", "cosine" or "distance".
    - `weight`: factor in the total loss.
    - `name`: name in logs.

    Raises ValueError if a pair reads inputs, the loss is unknown, or the weight is not positive.
    """

    name: str = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        if wrong := [pair.student for pair in self.pairs if pair.at != "output"]:
            raise ValueError(
                f"at='input' in the pairs {wrong}; LocalAttention compares outputs: pair the "
                "modules that put that tensor out"
            )

    def attach(self, reading: Reading) -> None:
        """Ask for the student's modules to be run inside the teacher's pass."""
        reading.run_locally(self.name, self.pairs, self.loss)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs."""
        return weighted_mean(seen.local[self.name])
