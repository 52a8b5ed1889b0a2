"""Attention to be tried in place of dense attention, as values; and the rows of a study."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from lite3r.student.recipes import Estimator, TokenOrder

Precision = Literal["float32", "bfloat16", "fp8"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network to be tried.

    - `keep`: key blocks that a query block attends exactly, or their share; None is dense.
    - `block`, `order`, `summary`, `opened`, `axes`, `estimator`: as `SparseLinearAttention` has it;
      an empty `summary` is none.
    - `scopes`: which attentions become sparse; `site`: only the one of that name.
    - `calibrated`: whether the axes of the order are found beforehand, once.
    - `precision`: number type; "fp8" stores the weights of linear layers so.
    """

    keep: float | int | None = None
    block: tuple[int, int] = (64, 4)
    order: Literal["content", "sequence"] = "content"
    summary: tuple[int, ...] = (4, 64, 512)
    opened: int = 24
    axes: int = 8
    estimator: Estimator = "mean"
    token_order: TokenOrder = "raster"
    scopes: tuple[str, ...] = ("global",)
    site: str | None = None
    calibrated: bool = True
    precision: Precision = "float32"

    @property
    def key(self) -> str:
        """A text that no other candidate has: what differs from dense attention."""
        plain = Candidate()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(plain, f.name)]
        return " ".join(f"{name}={getattr(self, name)}" for name in changed) or "dense"

    def recipe(self) -> dict[str, Any]:
        """The fields of a recipe that make a student like this."""
        scope = self.scopes[0] if len(self.scopes) == 1 else "both"
        names = ("keep", "block", "order", "summary", "opened", "estimator", "token_order")
        return {name: getattr(self, name) for name in names} | {"scope": scope}


def levels(first: int, count: int = 3) -> tuple[int, ...]:
    """Sizes of cells from that of the key block on: 16 blocks in a cell, and 8 cells in one."""
    return tuple(first * times for times in (1, 16, 128)[:count])


def blocks(keep: int, size: int, **more: Any) -> Candidate:
    """So many exact key blocks of a size, and summaries for the rest."""
    return Candidate(keep=keep, block=(64, size), summary=levels(size), **more)


BALANCED = Candidate(keep=64)
FAST = Candidate(keep=32, opened=16)
TILES = Candidate(
    keep=0.25,
    block=(16, 16),
    order="sequence",
    summary=(),
    estimator="subblock_lse",
    token_order="tile8",
)
PAPER = replace(TILES, token_order="raster", scopes=("global", "frame"))

CHEAP = {
    "dense": Candidate(),
    "64 blocks": BALANCED,
    "32 blocks, 16 opened": FAST,
    "16 blocks": replace(BALANCED, keep=16),
    "sequence order": replace(BALANCED, order="sequence"),
    "no summaries": replace(BALANCED, summary=()),
    "tiles of 16": TILES,
}
FULL = CHEAP | {
    "128 blocks": replace(BALANCED, keep=128),
    "32 blocks": replace(BALANCED, keep=32),
    "8 blocks": replace(BALANCED, keep=8),
    "tiles of 16, keep 0.5": replace(TILES, keep=0.5),
    "tiles of 16, keep 0.1": replace(TILES, keep=0.1),
    "tiles of 16, keep 0.05": replace(TILES, keep=0.05),
    "paper's operator": PAPER,
    "dense, bfloat16": Candidate(precision="bfloat16"),
    "dense, FP8 weights": Candidate(precision="fp8"),
    "64 blocks, FP8 weights": replace(BALANCED, precision="fp8"),
}


def study() -> dict[str, Candidate]:
    """One setting of the content order changed at a time."""
    found = {"dense": Candidate(), "64 blocks": BALANCED}
    found["axes computed anew"] = replace(BALANCED, calibrated=False)
    found |= {f"{n} axes": replace(BALANCED, axes=n) for n in (2, 4, 16)}
    found |= {f"{n} opened": replace(BALANCED, opened=n) for n in (12, 16, 48)}
    found |= {f"{256 // n} blocks of {n}": blocks(256 // n, n) for n in (8, 16, 32)}
    found |= {f"{n} queries a block": replace(BALANCED, block=(n, 4)) for n in (32, 128)}
    for sizes in ((4,), (4, 64), (4, 32, 256), (4, 128, 1024)):
        found[f"cells {', '.join(map(str, sizes))}"] = replace(BALANCED, summary=sizes)
    found["frame attention too"] = replace(BALANCED, scopes=("global", "frame"))
    return found


def short(site: str) -> str:
    """The number of a layer, where its name holds one."""
    return ".".join(word for word in site.split(".") if word.isdigit()) or site


def grid() -> Iterator[Candidate]:
    """What tuning tries first: how many exact blocks, of which size."""
    yield from (blocks(keep, size) for size in (4, 8, 16) for keep in (16, 32, 64, 128))


def around(candidate: Candidate) -> Iterator[Candidate]:
    """What tuning tries beside its choice: fewer cells opened, fewer levels."""
    yield from (replace(candidate, opened=opened) for opened in (12, 16))
    yield from (replace(candidate, summary=levels(candidate.block[1], n)) for n in (1, 2))
