"""Networks to be tried, as values; and the rows of a study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lite3r.student.recipes import Recipe, paper, sparse_only, tiles
from sla_kernels import share_blocks

Multiplies = Literal["weight_only", "reference"]
UNTAUGHT: dict[str, Any] = {"linear": "none", "trainable": "none"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network to be tried.

    - `recipe`: its attention, untrained and without a linear branch, and its FP8 layers.
    - `sparse`: whether its attention is that of the recipe, and not dense.
    - `site`: the only layer that becomes sparse, by its name; None is all of the scope.
    - `calibrated`: whether the axes of the order are found beforehand, once.
    - `precision`: its number type.
    - `backend`: what multiplies its FP8 layers: "reference" rounds activations too.
    """

    recipe: Recipe
    sparse: bool = True
    site: str | None = None
    calibrated: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    backend: Multiplies = "weight_only"

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the recipe that make its attention."""
        names = ("keep", "block", "order", "summary", "opened", "axes", "offsets")
        return {name: getattr(self.recipe, name) for name in names}

    @property
    def key(self) -> str:
        """A text by which measurements are found again."""
        made = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return made if self.site is None else f"{made} in {self.site}"


def few(keep: int, size: int = 4, **more: Any) -> Candidate:
    """So many exact key blocks of a size, and summaries for the rest."""
    return but(keep=keep, block=(64, size), summary=levels(size), **more)


def but(**changes: Any) -> Candidate:
    """The balanced recipe with other fields."""
    return Candidate(recipe=replace(sparse_only(), **changes))


def tiled(recipe: Recipe, **changes: Any) -> Candidate:
    """Tiles, without a linear branch, which adds nothing before it is trained."""
    return Candidate(recipe=replace(recipe, **UNTAUGHT, fp8="none", **changes))


def levels(first: int, count: int = 3) -> tuple[int, ...]:
    """Sizes of cells from that of the key block on: 16 blocks in a cell, and 8 cells in one."""
    return tuple(first * times for times in (1, 16, 128)[:count])


DENSE = replace(but(), sparse=False)
FP8 = {"fp8": "rowwise"}
PAPER = replace(paper(), keep=0.3, feature_map="elu1")  # as its code is configured
CHEAP = {
    "dense": DENSE,
    "64 blocks": few(64),
    "32 blocks": few(32, opened=16),  # as the recipe "fast"
    "16 blocks": few(16),
    "sequence order": but(order="sequence"),
    "no summaries": but(summary=()),
    "no offsets": but(offsets=False),
    "tiles of 16": tiled(tiles()),
}
KINDS: dict[str, Multiplies] = {"FP8 weights": "weight_only", "W8A8": "reference"}
ROUNDED = {  # FP8 weights to suit their inputs or to the nearest; activations too, or not
    "dense": DENSE,
    "dense, bfloat16": replace(DENSE, precision="bfloat16"),
    "64 blocks": few(64),
    **{
        f"{row}, {kind}{words}": replace(but(**FP8, rounding=way), sparse=sparse, backend=backend)
        for row, sparse in (("dense", False), ("64 blocks", True))
        for kind, backend in KINDS.items()
        for words, way in (("", "inputs"), (", nearest", "nearest"))
    },
}
FULL = (
    CHEAP
    | ROUNDED
    | {
        **{f"{keep} blocks": few(keep) for keep in (128, 8)},
        **{f"tiles of 16, keep {keep}": tiled(tiles(), keep=keep) for keep in (0.5, 0.1, 0.05)},
        "paper's operator": tiled(paper()),
        "32 blocks, FP8 weights": but(**FP8, keep=32, opened=16),
        "16 blocks, W8A8": replace(but(**FP8, keep=16), backend="reference"),
        "paper's operator, FP8 weights": Candidate(recipe=replace(PAPER, **UNTAUGHT)),
    }
)
BESIDE_TAUGHT = {  # what rows that train are compared with
    name: FULL[name]
    for name in (
        *("dense", "16 blocks", "16 blocks, W8A8", "tiles of 16", "paper's operator, FP8 weights"),
        *("64 blocks, FP8 weights", "32 blocks, FP8 weights"),
    )
}
STUDY = {
    "dense": DENSE,
    "64 blocks": few(64),
    "axes computed anew": replace(few(64, offsets=False), calibrated=False),
    **{f"{axes} axes": but(axes=axes) for axes in (4, 8, 32)},
    **{f"{opened} opened": but(opened=opened) for opened in (12, 16, 24)},
    **{f"{256 // size} blocks of {size}": few(256 // size, size) for size in (8, 16, 32)},
    **{f"{queries} queries a block": but(block=(queries, 4)) for queries in (32, 128)},
    **{
        f"cells {', '.join(map(str, sizes))}": but(summary=sizes)
        for sizes in ((4,), (4, 64), (4, 32, 256), (4, 128, 1024))
    },
    "frame attention too": but(scope="both"),
}


def short(site: str) -> str:
    """The number of a layer, where its name holds one."""
    return ".".join(word for word in site.split(".") if word.isdigit()) or site


def grid() -> Iterator[Candidate]:
    """What tuning tries first: how many exact blocks, of which size."""
    yield from (few(keep, size) for size in (4, 8, 16) for keep in (16, 32, 64, 128))


def around(candidate: Candidate) -> Iterator[Candidate]:
    """What tuning tries beside its choice: fewer cells opened, fewer levels."""
    recipe = candidate.recipe
    for opened in (12, 16):
        yield replace(candidate, recipe=replace(recipe, opened=opened))
    for count in (1, 2):
        yield replace(candidate, recipe=replace(recipe, summary=levels(recipe.block[1], count)))


def halved(candidate: Candidate, layers: int) -> list[Candidate]:
    """The candidate with half as many exact blocks in one layer, for each of its layers."""
    keep = int(candidate.recipe.keeps[0])
    fewer = max(1, keep // 2)
    each = [(keep,) * i + (fewer,) + (keep,) * (layers - 1 - i) for i in range(layers)]
    return [replace(candidate, recipe=replace(candidate.recipe, keep=keeps)) for keeps in each]


def shared(candidate: Candidate, change: float, halves: Sequence[float]) -> Iterator[Candidate]:
    """The candidate with its exact blocks shared between layers: all, and three quarters of them.

    - `change`: its own; `halves`: of what `halved` makes of it.
    """
    for quarters in (4, 3):
        keeps = share_blocks(int(candidate.recipe.keeps[0]) * quarters // 4, change, halves)
        yield replace(candidate, recipe=replace(candidate.recipe, keep=keeps))
