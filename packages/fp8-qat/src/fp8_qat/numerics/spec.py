"""How one tensor is quantized, and how the two operands of a linear layer are."""

from dataclasses import dataclass, replace

from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.formats import FORMATS, Format

Granularity = str | tuple[int, int]
SCALE_RULES = (
    "divide",
    "multiply",
    "multiply_pow2",
    "reciprocal",
    "reciprocal_pow2",
    "double",
    "double_pow2",
    "mx_rceil",
    "mx_floor",
)
MODES = ("dynamic", "delayed", "static")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How one matrix (rows, columns) becomes FP8; leading axes of a tensor count as rows.

    - `format`: "e4m3" or "e5m2".
    - `granularity`: what shares a scale: the whole "tensor", one "row" (an output row of a
      weight, a token of an activation), or blocks of (rows, columns) elements; the last
      block of a row or column may be smaller.
    - `rule`: how a largest magnitude becomes a scale; `fp8_qat.numerics.scales` has the formulas.
    - `mode`: "dynamic" takes the largest magnitude of the tensor itself; "delayed" that of
      the past `history` steps ("max" or "most_recent"), less `margin` powers of two;
      "static" one number found by calibration.

    Raises ValueError when made with a value outside these rules.
    """

    format: str = "e4m3"
    granularity: Granularity = "row"
    rule: str = "divide"
    mode: str = "dynamic"
    history: int = 1024
    algorithm: str = "max"
    margin: int = 0

    def __post_init__(self) -> None:
        check_choice("format", self.format, tuple(FORMATS))
        check_choice("rule", self.rule, SCALE_RULES)
        check_choice("mode", self.mode, MODES)
        check_choice("algorithm", self.algorithm, ("max", "most_recent"))
        _check_granularity(self.granularity)
        if not _whole(self.history) or self.history < 1:
            raise ValueError(
                f"history={self.history}; it must be a whole number of at least 1: give a number "
                "of steps"
            )
        if not _whole(self.margin):
            raise ValueError(f"margin={self.margin}; it must be whole: give powers of two")
        if self.mode != "dynamic" and self.granularity != "tensor":
            raise ValueError(
                f"granularity={self.granularity!r}; it must be 'tensor' for mode {self.mode!r}, as "
                "the next batch has other rows and blocks: use mode 'dynamic'"
            )
        needed = {"delayed": "multiply", "static": "divide"}.get(self.mode, self.rule)
        if self.rule != needed:
            raise ValueError(
                f"rule={self.rule!r}; it must be {needed!r} for mode {self.mode!r}, whose state is "
                "one number: use that rule, or mode 'dynamic'"
            )

    @property
    def fp8(self) -> Format:
        """The format's ranges and dtype."""
        return FORMATS[self.format]

    def once(self) -> "Spec":
        """Give this spec for a tensor that never changes: its own largest magnitude, now."""
        return replace(self, mode="dynamic")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How linear layers are quantized: their weights, their activations, and a name.

    `activation` None leaves activations in high precision (weight-only).
    """

    name: str
    weight: Spec
    activation: Spec | None

    def __post_init__(self) -> None:
        if self.weight.mode == "static":
            raise ValueError(
                f"recipe {self.name!r}: weight mode='static'; it must be 'dynamic' or 'delayed', "
                "as weights are at hand: use mode 'dynamic'"
            )


def _check_granularity(value: Granularity) -> None:
    if isinstance(value, str):
        check_choice("granularity", value, ("tensor", "row"))
    elif not isinstance(value, tuple) or len(value) != 2 or not all(map(_positive, value)):
        raise ValueError(
            f"granularity={value!r}; it must be a tuple (rows, columns), both at least 1: name a "
            "block"
        )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: int) -> bool:
    return _whole(value) and value >= 1
