"""What a run is to do, checked before the first step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from distill.batches import Batches, is_indexed
from distill.config import DistillConfig
from distill.objectives.objective import Objective, reading_of
from distill.observe.reading import Reading
from distill.processes.world import World
from distill.record.pairs import Pair
from distill.trainable.freeze import parameter_ids, trainable_parameters


@dataclass(frozen=True, kw_only=True)
class Task:
    """What `distill` was given, checked and put in order.

    Raises ValueError if settings contradict each other or the number of processes.
    """

    student: nn.Module
    teacher: nn.Module
    batches: Batches
    objectives: tuple[Objective, ...]
    config: DistillConfig
    held_out: Sequence[Any] | None
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None
    count_images: Callable[[Any], int] | None
    keys: Callable[[int], str] | None

    @property
    def reading(self) -> Reading:
        """What the objectives ask for."""
        return reading_of(self.objectives)

    @property
    def evaluates(self) -> bool:
        """Whether there is anything to evaluate on."""
        return self.held_out is not None or self.evaluate is not None

    def __post_init__(self) -> None:
        self._check_values()
        self._check_trainable()
        self._check_evaluation()
        self._check_passes()
        size, accumulation = World.current().size, self.config.accumulation
        if accumulation % size:
            raise ValueError(
                f"accumulation={accumulation}; it counts the batches of a step over all "
                f"processes, and must be a multiple of their number: give a multiple of {size}"
            )

    def _check_values(self) -> None:
        for role, model in (("student", self.student), ("teacher", self.teacher)):
            for name, parameter in model.named_parameters():
                if parameter.is_meta:
                    raise ValueError(
                        f"{role}={name!r} on meta; its parameters must hold values: build it on a "
                        "device, or fill it after model.to_empty(device=...)"
                    )

    def _check_trainable(self) -> None:
        theirs = parameter_ids(self.teacher)
        for name, parameter in trainable_parameters(self.student).items():
            if id(parameter) in theirs:
                raise ValueError(
                    f"trainable={name!r}; it is a parameter of the teacher too, which would move "
                    "with the student: give a copy.deepcopy of the teacher, or freeze what is "
                    "shared"
                )
            if parameter.dtype.itemsize < 4:
                raise ValueError(
                    f"{name}={parameter.dtype}; what trains must not round small updates away: "
                    'keep it in float32 and set autocast="bfloat16"'
                )

    def _check_evaluation(self) -> None:
        config = self.config
        keyed = isinstance(self.held_out, Mapping)
        if self.held_out is not None and (keyed or not is_indexed(self.held_out)):
            raise ValueError(
                f"held_out={type(self.held_out).__name__}; it must be a sequence, which is "
                "read by number: give list(held_out)"
            )
        if self.held_out is not None and len(self.held_out) == 0:
            raise ValueError("held_out=[]; it must hold at least one batch: give one, or None")
        if (config.patience or config.keep == "best") and not self.evaluates:
            raise ValueError(
                f"patience={config.patience}, keep={config.keep!r}; they need an evaluation: "
                "give held_out batches or an evaluate function"
            )
        known = ["loss", *(objective.name for objective in self.objectives)]
        if self.held_out is not None and not self.evaluate and config.monitor not in known:
            raise ValueError(
                f"monitor={config.monitor!r}; it must be a metric: choose one of {known}"
            )

    def _check_passes(self) -> None:
        reading = self.reading
        local = sorted({site.objective for site in reading.local})
        if local and self.keys is not None:
            raise ValueError(
                f"objectives={local}; they learn while the teacher runs, and a store of targets "
                "would spare that: leave the store out"
            )
        readers = reading.output_readers
        if self.config.run_until == "last_pair" and readers:
            raise ValueError(
                f"run_until='last_pair'; it computes no outputs, which {', '.join(readers)} "
                'would read: set run_until="end"'
            )


def complete_objectives(
    objectives: Iterable[Objective], pairs: Iterable[Pair]
) -> tuple[Objective, ...]:
    """Return the objectives, with `pairs` given to attention objectives that have none.

    Raises ValueError if there are no objectives, pairs that no objective uses, an attention
    objective without pairs, or two objectives of one name.
    """
    pairs, given = tuple(pairs), tuple(objectives)
    if not given:
        raise ValueError(
            "objectives=(); at least one is needed: give AttentionOutputs() or another"
        )
    done = tuple(objective.with_pairs(pairs) for objective in given)
    if pairs and all(new is old for new, old in zip(done, given, strict=True)):
        raise ValueError(
            f"pairs={len(pairs)} of them; no objective uses them: give AttentionOutputs, "
            "LocalAttention or CameraTokens without pairs of its own, or leave `pairs` out"
        )
    names = [objective.name for objective in done]
    if len(set(names) | {"loss"}) <= len(names):
        raise ValueError(
            f"names={names}; objectives need names of their own, other than 'loss': give each a "
            "`name`"
        )
    return done
