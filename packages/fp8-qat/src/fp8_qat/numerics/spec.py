"""How one tensor is quantised, and how the two operands of a linear layer are."""

from dataclasses import dataclass, replace

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

    format: "e4m3" or "e5m2".
    granularity: what shares a scale: the whole "tensor", one "row" (an output row of a
        weight, a token of an activation), or blocks of (rows, columns) elements; the last
        block of a row or column may be smaller.
    rule: how a largest magnitude becomes a scale; `fp8_qat.numerics.scales` has the formulas.
    mode: "dynamic" takes the largest magnitude of the tensor itself; "delayed" that of
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
        _one_of("format", self.format, tuple(FORMATS))
        _one_of("rule", self.rule, SCALE_RULES)
        _one_of("mode", self.mode, MODES)
        _one_of("algorithm", self.algorithm, ("max", "most_recent"))
        _check_granularity(self.granularity)
        if self.history < 1:
            raise ValueError(f"history is {self.history}; give at least 1 step")
        if self.mode != "dynamic" and self.granularity != "tensor":
            raise ValueError(
                f"mode {self.mode!r} needs granularity 'tensor', not {self.granularity!r}: "
                "rows and blocks of the next batch are other rows and blocks; use mode 'dynamic'"
            )
        needed = {"delayed": "multiply", "static": "divide"}.get(self.mode, self.rule)
        if self.rule != needed:
            raise ValueError(
                f"mode {self.mode!r} needs rule {needed!r}, not {self.rule!r}: its state is the "
                "one number of that rule"
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
    """How linear layers are quantised: their weights, their activations, and a name.

    `activation` None leaves activations in high precision (weight-only).
    """

    name: str
    weight: Spec
    activation: Spec | None

    def __post_init__(self) -> None:
        if self.weight.mode == "static":
            raise ValueError(
                f"recipe {self.name!r}: a weight spec of mode 'static'; weights are at hand, "
                "so use mode 'dynamic'"
            )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, known))}")


def _check_granularity(value: Granularity) -> None:
    if isinstance(value, str):
        _one_of("granularity", value, ("tensor", "row"))
    elif len(value) != 2 or min(value) < 1:
        raise ValueError(f"granularity is {value!r}; give (rows, columns), both at least 1")
