"""Which module of the teacher answers to which module of the student."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from distill.record.settings import check_choice, check_number

At = Literal["output", "input"]


@dataclass(frozen=True)
class Tap:
    """A place in a model where a tensor is read.

    - `module`: dotted name of the module, as in `model.named_modules()`.
    - `at`: what the module returns ("output") or its first positional argument ("input").
    - `item`: which tensor, when the module returns or takes several.
    """

    module: str
    at: At = "output"
    item: int = 0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One module of the teacher and the module of the student that shall imitate it.

    `at="input"` on an output projection reads the attention before that projection.

    - `teacher`: dotted name in the teacher.
    - `student`: dotted name in the student.
    - `weight`: share of this pair in the loss, positive; only ratios between pairs matter.
    - `at`: read what the modules return, or their first positional argument.
    - `item`: which tensor, when the modules return or take several.

    Raises ValueError if the weight is not positive, `item` is negative, or `at` is unknown.
    """

    teacher: str
    student: str
    weight: float = 1.0
    at: At = "output"
    item: int = 0

    def __post_init__(self) -> None:
        check_number("weight", self.weight)
        check_number("item", self.item, whole=True)
        check_choice("at", self.at, get_args(At))
        if not self.weight > 0:
            raise ValueError(
                f"weight={self.weight!r} of the pair {self.student!r}; it must be positive: to do "
                "without the pair, leave it out"
            )
        if self.item < 0:
            raise ValueError(
                f"item={self.item} of the pair {self.student!r}; it must be at least 0: count "
                "from the first"
            )

    @property
    def teacher_tap(self) -> Tap:
        """Where the teacher is read."""
        return Tap(self.teacher, self.at, self.item)

    @property
    def student_tap(self) -> Tap:
        """Where the student is read."""
        return Tap(self.student, self.at, self.item)


@runtime_checkable
class Site(Protocol):
    """Anything with the dotted name of an attention module."""

    @property
    def name(self) -> str:
        """Dotted name of the module."""
        ...


def pair_sites(
    sites: Iterable[Site],
    *,
    weights: Mapping[str, float] | None = None,
    suffix: str = "",
    at: At = "output",
) -> tuple[Pair, ...]:
    """Pair the attention sites that a student has in common with its teacher, by name.

    - `sites`: objects with a `name`, such as a backbone's attention sites.
    - `weights`: weight by site name; sites that are not named weigh 1.
    - `suffix`: appended to every name, such as ".proj" for a module inside the site.
    - `at`: as in `Pair`; "input" with the suffix of the output projection is the attention before
      that projection.

    Raises ValueError if a weight names no site.
    """
    names = [site.name for site in sites]
    given = dict(weights or {})
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(f"weights={unknown}; they name no site: known are {names}")
    return tuple(
        Pair(teacher=name + suffix, student=name + suffix, weight=given.get(name, 1.0), at=at)
        for name in names
    )
