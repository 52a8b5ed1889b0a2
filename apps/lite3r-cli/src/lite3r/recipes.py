"""What makes a student light, as one value: sparsity, precision, and what is trained.

A recipe is data: it is saved with the student, and a student made from it again is the
same module tree. Variants are functions; each is a few changes to another.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Fp8 = Literal["rowwise", "tensorwise", "block", "mxfp8", "none"]
Trainable = Literal["proj", "lora", "attn", "all"]

KNOWN = {
    "estimator": ("mean", "subblock_lse"),
    "feature_map": ("softmax", "elu1", "relu"),
    "linear": ("all", "complement"),
    "token_order": ("raster", "tile8"),
    "scope": ("global", "frame", "both"),
    "fp8": get_args(Fp8),
    "trainable": get_args(Trainable),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dense backbone becomes a student."""

    keep: float = 0.25
    """Share of the key blocks that softmax attention keeps, above 0 and at most 1."""
    block: tuple[int, int] = (16, 16)
    """Query and key tokens in a block; powers of two. Larger ones run faster and choose worse."""
    estimator: Literal["mean", "subblock_lse"] = "subblock_lse"
    """How the weight of a key block is guessed: from block means, or finer."""
    feature_map: Literal["softmax", "elu1", "relu"] = "softmax"
    """Feature map of the linear branch."""
    linear: Literal["all", "complement"] = "all"
    """What the linear branch sums over: all keys, or those that the sparse branch drops."""
    token_order: Literal["raster", "tile8"] = "tile8"
    """Order of a view's patches inside the network; tiles make a block a compact patch."""
    scope: Literal["global", "frame", "both"] = "global"
    """Which attention becomes sparse: over all views, inside each view, or both."""
    fp8: Fp8 = "rowwise"
    """Scaling of the FP8 linear layers; none keeps them as they are."""
    fp8_include: tuple[str, ...] = ("*blocks.*",)
    """Names of the linear layers that run in FP8, as shell patterns."""
    fp8_exclude: tuple[str, ...] = ()
    """Names among those that stay as they are."""
    trainable: Trainable = "proj"
    """What distillation changes: the projections of the linear branch, these and a low-rank
    update of the sparse attentions' layers, all of these attentions, or everything."""
    lora_rank: int = 8
    """Rank of the low-rank updates."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep is {self.keep}; it must be above 0 and at most 1 (1 is dense)")
        if min(self.block) < 1:
            raise ValueError(f"block is {self.block}; both sizes must be at least 1")
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank is {self.lora_rank}; it must be at least 1")
        for field, known in KNOWN.items():
            if getattr(self, field) not in known:
                raise ValueError(f"{field} is {getattr(self, field)!r}; known: {', '.join(known)}")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The attention scopes that become sparse."""
        return ("global", "frame") if self.scope == "both" else (self.scope,)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Read what `to_dict` gave. Raises ValueError for an unknown or missing field."""
        known = set(cls.__dataclass_fields__)
        if set(values) != known:
            raise ValueError(
                f"recipe: unknown {sorted(set(values) - known)}, missing "
                f"{sorted(known - set(values))}; it was written by another version"
            )
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a student is taught to answer as its teacher does."""

    steps: int = 80
    """Optimiser steps."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    accumulation: int = 1
    """Scenes in one step."""
    checkpoint_every: int = 10
    """Steps between checkpoints."""
    match: Literal["attention", "outputs"] = "attention"
    """What the student is asked to match: the outputs of attention, or depth and cameras too."""
    solve_batches: int = 0
    """Scenes on which projections are solved for, by least squares, before the first step."""
    recompute: bool = False
    """Recompute activations in backward instead of keeping them: less memory, more time."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulation", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.solve_batches < 0:
            raise ValueError(f"solve_batches is {self.solve_batches}; it must be at least 0")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")


def default() -> Recipe:
    """Sparse linear attention over all views, FP8 in the blocks, only projections trained."""
    return Recipe()


def sparse_only(recipe: Recipe | None = None) -> Recipe:
    """Without FP8."""
    return replace(recipe or default(), fp8="none")


def paper() -> Recipe:
    """What Lite3R describes (arXiv 2605.11354): every attention sparse, tokens in raster order."""
    return replace(default(), scope="both", token_order="raster")
