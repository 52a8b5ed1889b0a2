"""What makes a student light, as one value: sparsity, precision, and what is trained.

A recipe is data: it is saved with the student, and a student made from it again is the
same module tree. Recipes that have a name are functions; each is a few changes to another.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

Estimator = Literal["mean", "subblock_lse"]
FeatureMap = Literal["softmax", "elu1", "relu"]
Linear = Literal["all", "complement"]
TokenOrder = Literal["raster", "tile8"]
Scope = Literal["global", "frame", "both"]
Fp8 = Literal["rowwise", "tensorwise", "block", "mxfp8", "none"]
Trainable = Literal["proj", "lora", "attn", "all"]

SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # tokens, powers of two: what the kernels' tiles take


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dense backbone becomes a student."""

    keep: float = 0.25
    """Share of the key blocks that softmax attention keeps, above 0 and at most 1."""
    block: tuple[int, int] = (16, 16)
    """Query and key tokens in a block; powers of two. Larger ones run faster and choose worse."""
    estimator: Estimator = "subblock_lse"
    """How the weight of a key block is guessed: from block means, or finer."""
    feature_map: FeatureMap = "softmax"
    """Feature map of the linear branch."""
    linear: Linear = "all"
    """What the linear branch sums over: all keys, or those that the sparse branch drops."""
    token_order: TokenOrder = "tile8"
    """Order of a view's patches inside the network; tiles make a block a compact patch."""
    scope: Scope = "global"
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
            raise ValueError(
                f"keep={self.keep}; it must be above 0 and at most 1: 1 keeps every block"
            )
        if not all(map(_is_block, self.block)):
            raise ValueError(
                f"block={self.block}; both sizes must be powers of two from {SMALLEST_BLOCK} to "
                f"{LARGEST_BLOCK}: 16 16 chooses best"
            )
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank={self.lora_rank}; it must be at least 1: 8 is usual")
        for name, known in choices().items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}; it must be known: {', '.join(known)}"
                )

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

    def changed(self, changes: Mapping[str, str]) -> "Recipe":
        """The same recipe with some fields read from text, as `keep=0.1` or `block=32,32`.

        Raises ValueError for an unknown field, and for a value that the field does not take.
        """
        unknown = sorted(changes.keys() - self.__dataclass_fields__.keys())
        if unknown:
            known = ", ".join(self.__dataclass_fields__)
            raise ValueError(f"{unknown[0]}={changes[unknown[0]]}; a recipe has: {known}")
        read = {name: _read(name, text, getattr(self, name)) for name, text in changes.items()}
        return replace(self, **read)


def default() -> Recipe:
    """Sparse linear attention over all views, FP8 in the blocks, only projections trained."""
    return Recipe()


def sparse_only() -> Recipe:
    """The default without FP8."""
    return replace(default(), fp8="none")


def paper() -> Recipe:
    """What Lite3R describes (arXiv 2605.11354): every attention sparse, tokens in raster order."""
    return replace(default(), scope="both", token_order="raster")


NAMED: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "paper": paper,
    "sparse_only": sparse_only,
}


def by_name(name: str) -> Recipe:
    """Make the recipe of that name. Raises ValueError for an unknown one."""
    if name not in NAMED:
        raise ValueError(f"recipe={name!r}; it must be known: {', '.join(NAMED)}")
    return NAMED[name]()


def choices() -> dict[str, tuple[str, ...]]:
    """The words that a field takes, for the fields that take words."""
    hints = get_type_hints(Recipe)
    return {name: get_args(hint) for name, hint in hints.items() if _is_literal(hint)}


def _is_literal(hint: Any) -> bool:
    return bool(get_args(hint)) and all(isinstance(word, str) for word in get_args(hint))


def _is_block(size: int) -> bool:
    return SMALLEST_BLOCK <= size <= LARGEST_BLOCK and size & (size - 1) == 0


def _read(name: str, text: str, like: Any) -> Any:
    """Read the text of a field into the type that the field holds now."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        if isinstance(like, tuple):
            return tuple(type(like[0])(w) if like else w for w in words)
        return type(like)(text)
    except ValueError:
        raise ValueError(
            f"{name}={text}; it must read like {like!r}: write {name}=VALUE, or VALUE,VALUE"
        ) from None
