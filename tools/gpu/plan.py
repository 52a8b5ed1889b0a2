"""The steps in order of worth, and how long each may take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: the module `steps.<module>` does it.

    - `seconds`: its limit on a GPU.
    - `interpreted`: whether a rehearsal runs its Triton kernels in Triton's interpreter.
    - `asked`: it runs only where `--only` names it, beyond the eight minutes.
    """

    name: str
    seconds: float
    module: str
    interpreted: bool = False
    asked: bool = False


STEPS = (
    Step(name="smoke", seconds=90, module="smoke", interpreted=True),
    Step(name="attention", seconds=45, module="attention"),
    Step(name="rows", seconds=30, module="rows"),
    Step(name="linears", seconds=35, module="linears"),
    Step(name="da3-large", seconds=85, module="models"),
    Step(name="vggt-1b", seconds=125, module="models"),
    Step(name="profile", seconds=30, module="profile"),
    Step(name="teacher", seconds=35, module="teacher"),
    Step(name="memory", seconds=300, module="memory", interpreted=True, asked=True),
)
REHEARSAL_SECONDS = 600.0
"""The limit of a step in a rehearsal; most take seconds."""


def by_name(name: str) -> Step:
    """The step of that name."""
    (found,) = (step for step in STEPS if step.name == name)
    return found
