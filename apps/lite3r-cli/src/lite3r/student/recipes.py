"""What makes a student light, as one value: sparsity, precision, and what is trained.

A recipe is data: it is saved with the student, and a student made from it again is the
same module tree. Recipes that have a name are functions; each is a few changes to another.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from lite3r.student import kinds
from sla_kernels import SparseLinearAttention

BEFORE_ORDERS = {"order": "sequence", "summary": (), "opened": 24, "axes": 8}
"""What students did that were saved before tokens had an order."""
BEFORE = {"fp8_stored": (), "offsets": False, "rounding": "nearest"}
"""What they did that were saved before a recipe had these fields."""
STORED = (
    *("*cam_enc.trunk.*.weight", "*_aux.*.weight"),  # of given cameras, and of rays: seldom run
    *("*head.resize_layers.*.weight", "*head.scratch.layer?_rn.weight"),
)
"""Where rounding changes depth by less than bfloat16 does, and no camera."""
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # tokens, powers of two: what the kernels' tiles take


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dense backbone becomes a student."""

    keep: float | int | tuple[int, ...] = 64
    """Key blocks that each query block attends exactly: their number, or their share in (0, 1]; or
    a number for each sparse attention, in the order of the network."""
    block: tuple[int, int] = (64, 4)
    """Query and key tokens in a block; in tiles ("sequence", no summary) powers of two."""
    order: kinds.Order = "content"
    """Blocks are runs of tokens whose keys are alike (content), or of tokens as they come."""
    summary: tuple[int, ...] = (4, 64, 512)
    """Tokens in a cell, several sizes, each a multiple of the one before and the first that of a
    key block: what is not attended exactly is attended by its summary. Empty drops it."""
    opened: int = 20
    """Cells opened at each larger size, where blocks to attend exactly are looked for."""
    axes: int = 16
    """Principal axes of the keys that the order looks at, stored with the student."""
    offsets: bool = True
    """Whether what cells understate is found with the axes, by head and size, and made up for."""
    estimator: kinds.Estimator = "mean"
    """How the weight of a tile is guessed: from block means, or finer."""
    feature_map: kinds.FeatureMap = "softmax"
    """Feature map of the linear branch."""
    linear: kinds.Linear = "none"
    """A linear branch with a trained projection: none, over all keys, or over those dropped."""
    token_order: kinds.TokenOrder = "raster"
    """Order of a view's patches inside the network; tiles make a block a compact patch."""
    scope: kinds.Scope = "global"
    """Which attention becomes sparse: over all views, inside each view, or both."""
    fp8: kinds.Fp8 = "rowwise"
    """Scaling of the FP8 linear layers; none keeps them as they are."""
    fp8_include: tuple[str, ...] = ("*blocks.*",)
    """Names of the linear layers that run in FP8, as shell patterns."""
    fp8_exclude: tuple[str, ...] = ()
    """Names among those that stay as they are."""
    rounding: kinds.Rounding = "inputs"
    """FP8 weights that stay are rounded to suit what their layers are given by the images that axes
    are found on, which makes their answers several times nearer; or each to the nearest."""
    fp8_stored: tuple[str, ...] = STORED
    """Names of other parameters that are kept as FP8 and multiplied back when they are used; a
    backbone need not have them. None are where nothing runs in FP8."""
    trainable: kinds.Trainable = "none"
    """What distillation changes: nothing, projections of the linear branch, the last layers of the
    sparse attentions, biases, norms and scales (gains) of their blocks, projections and a low-rank
    update of these attentions' layers, all of these attentions, or everything."""
    lora_rank: int = 8
    """Rank of the low-rank updates."""

    def __post_init__(self) -> None:
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank={self.lora_rank}; it must be at least 1: 8 is usual")
        for name, known in choices().items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}; it must be known: {', '.join(known)}"
                )
        if self.trainable == "proj" and self.linear == "none":
            raise ValueError(
                "trainable='proj' with linear='none'; there must be projections to train: take "
                "trainable=lora, attn, all or none, or linear=all"
            )
        if self.tiles and not all(map(_is_block, self.block)):
            raise ValueError(
                f"block={self.block}; both sizes must be powers of two from {SMALLEST_BLOCK} to "
                f"{LARGEST_BLOCK} in tiles: 16 16 chooses best"
            )
        if not self.keeps:
            raise ValueError("keep=(); there must be a number of blocks: 64 is usual")
        for number in range(len(self.keeps)):
            self.attention(64, number)  # what it cannot be made of, it names

    @property
    def tiles(self) -> bool:
        """Whether whole blocks are attended as they come, and nothing of the others."""
        return self.order == "sequence" and not self.summary

    @property
    def calibrates(self) -> bool:
        """Whether the order looks along axes that are computed once and kept."""
        return self.order == "content"

    @property
    def observes(self) -> bool:
        """Whether FP8 layers are rounded to suit their inputs."""
        return self.fp8 != "none" and self.rounding == "inputs"

    @property
    def keeps(self) -> tuple[float | int, ...]:
        """`keep` of each sparse attention, or one for all of them."""
        return self.keep if isinstance(self.keep, tuple) else (self.keep,)

    def attention(self, head_dim: int, number: int = 0) -> SparseLinearAttention:
        """The attention of a sparse site, by number. Raises ValueError for one that cannot run."""
        return SparseLinearAttention(
            head_dim,
            keep=self.keeps[min(number, len(self.keeps) - 1)],
            block=self.block,
            order=self.order,
            summary=self.summary or None,
            opened=self.opened,
            axes=self.axes,
            estimator=self.estimator,
            feature_map=self.feature_map,
            linear=None if self.linear == "none" else self.linear,
        )

    @property
    def blocks(self) -> str:
        """What `keep` says, in digits."""
        return ", ".join(map(str, self.keeps))

    def words(self) -> str:
        """The attention in a few words."""
        query, key = self.block
        share = f"{self.keep:.0%} of the" if isinstance(self.keep, float) else self.blocks
        if self.tiles:
            return f"{share} key blocks of {query} x {key} tokens, {self.token_order} order"
        cells = ", ".join(map(str, self.summary))
        rest = f"all other keys by summaries of {cells}" if cells else "no summaries"
        return f"{share} key blocks of {key} tokens for {query} queries, {self.order} order, {rest}"

    @property
    def scopes(self) -> tuple[str, ...]:
        """The attention scopes that become sparse."""
        return ("global", "frame") if self.scope == "both" else (self.scope,)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Read what `to_dict` gave, also of versions that had fewer fields.

        Raises ValueError for an unknown or missing field.
        """
        known = set(cls.__dataclass_fields__)
        values = {**BEFORE, **values}
        if not values.keys() & BEFORE_ORDERS.keys():
            values = {**BEFORE_ORDERS, **values}
        if set(values) != known:
            raise ValueError(
                f"recipe with unknown {sorted(set(values) - known)} and missing "
                f"{sorted(known - set(values))}; its fields must be those of this version: "
                "write it again"
            )
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        for name, given in fields.items():
            like = getattr(cls(), name)
            kind = (int, float, tuple) if name == "keep" else type(like)
            inner = str if name.startswith("fp8_") else int
            held: Any = given if isinstance(given, tuple) else ()
            if not isinstance(given, kind) or not all(isinstance(one, inner) for one in held):
                raise ValueError(f"{name}={given!r}; it must be like {like!r}: write it so")
        return cls(**fields)

    def changed(self, changes: Mapping[str, str]) -> "Recipe":
        """The same recipe with some fields read from text, as `keep=0.1` or `block=32,32`.

        Raises ValueError for an unknown field, and for a value that the field does not take.
        """
        unknown = sorted(changes.keys() - self.__dataclass_fields__.keys())
        if unknown:
            known = ", ".join(self.__dataclass_fields__)
            raise ValueError(f"{unknown[0]}={changes[unknown[0]]}; a recipe has: {known}")
        hints = get_type_hints(Recipe)
        read = {name: _read(name, text, hints[name]) for name, text in changes.items()}
        return replace(self, **read)


def balanced() -> Recipe:
    """256 exact keys and summaries of all others, FP8 in the blocks, no training."""
    return Recipe()


def fast() -> Recipe:
    """Half as many exact keys, looked for in fewer cells."""
    return replace(balanced(), keep=32, opened=16)


def sparse_only() -> Recipe:
    """Balanced without FP8."""
    return replace(balanced(), fp8="none")


def tiles() -> Recipe:
    """A quarter of all tiles of 16 x 16 and a linear branch, whose projections are trained."""
    return replace(
        balanced(),
        keep=0.25,
        block=(16, 16),
        order="sequence",
        summary=(),
        estimator="subblock_lse",
        linear="all",
        rounding="nearest",
        token_order="tile8",
        trainable="proj",
    )


def paper() -> Recipe:
    """What Lite3R describes (arXiv 2605.11354): every attention sparse, tokens in raster order."""
    return replace(tiles(), scope="both", token_order="raster")


NAMED: dict[str, Callable[[], Recipe]] = {
    "default": balanced,
    "balanced": balanced,
    "fast": fast,
    "tiles": tiles,
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


def _read(name: str, text: str, hint: Any) -> Any:
    """Read the text of a field as the type that the field has."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = choices().get(name)
    if known is not None and text not in known:
        raise ValueError(f"{name}={text!r}; it must be known: {', '.join(known)}")
    kinds = [kind for kind in get_args(hint) if kind is not ...]
    try:
        if hint is bool:
            return ("false", "true").index(text.strip().lower()) == 1
        if get_origin(hint) is tuple:
            return tuple(kinds[0](word) for word in words)
        if name == "keep":
            numbers = tuple(int(word) for word in words) if "," in text else ()
            return numbers or (int(text) if text.strip().isdigit() else float(text))
        return text if _is_literal(hint) else hint(text)
    except ValueError:
        like = getattr(Recipe(), name)
        raise ValueError(
            f"{name}={text}; it must read like {like!r}: write {name}=VALUE, or VALUE,VALUE"
        ) from None
