"""What objectives ask for: modules to record, outputs to read, sites to run on their own."""

from collections.abc import Iterable
from dataclasses import dataclass

from distill.record.losses import LossName
from distill.record.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class LocalSite:
    """A pair that is compared inside the teacher's pass, for one objective.

    - `objective`: its name.
    """

    objective: str
    pair: Pair
    loss: LossName


class Reading:
    """A list that every objective adds its wishes to, before either model runs.

    - `pairs`: modules to record in the passes of both models.
    - `fields`: outputs that are read in both.
    - `output_readers`: names of the objectives that need the student's pass to run to its end.
    - `local`: sites of the student that run inside the teacher's pass.
    """

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.fields: list[str] = []
        self.output_readers: list[str] = []
        self.local: list[LocalSite] = []

    @property
    def student_runs(self) -> bool:
        """Whether the student makes a pass of its own."""
        return bool(self.pairs or self.output_readers)

    @property
    def paired(self) -> list[Pair]:
        """All pairs, recorded in both passes or run inside the teacher's."""
        return [*self.pairs, *(site.pair for site in self.local)]

    def record(self, pairs: Iterable[Pair]) -> None:
        """Ask for what paired modules take or put out."""
        self.pairs += [pair for pair in pairs if pair not in self.pairs]

    def read(self, objective: str, fields: Iterable[str] = ()) -> None:
        """Ask for outputs: those named, as tensors of both models, and the student's whole."""
        self.output_readers.append(objective)
        self.fields += [field for field in fields if field not in self.fields]

    def run_locally(self, objective: str, pairs: Iterable[Pair], loss: LossName) -> None:
        """Ask for modules of the student to be run on what the teacher's are given."""
        self.local += [LocalSite(objective=objective, pair=pair, loss=loss) for pair in pairs]
