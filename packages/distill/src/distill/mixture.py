"""One source of batches made of several, in a fixed ratio."""

from collections.abc import Sequence
from typing import Any

import torch

from distill.batches import as_batches
from distill.record.settings import check_number
from distill.resume.rng import seed_for

MOST = 1_000_000  # batches after which a new order is drawn


def mixture(batches: Sequence[Any], weights: Sequence[int | float], seed: int = 0) -> "Mixture":
    """Return a source that takes its batches from several, such as synthetic scenes and photos.

    With weights (3, 1), every four batches in a row from a multiple of four hold three of the
    first source and one of the second, in an order drawn anew each time. Which source gives
    batch `index`, and which of its batches that is, follow from `index` and `seed` alone: a
    resumed run, or several processes, draw the same.

    - `batches`: sources, sequences or iterables, as in `distill`.
    - `weights`: how many batches of each, whole numbers, at least 1.

    Raises ValueError if there are no sources, not as many weights, a weight that is no whole
    number of at least 1, or more than a million in all.
    """
    return Mixture(batches, weights, seed)


class Mixture:
    """Batches from several sources, see `mixture`."""

    def __init__(self, batches: Sequence[Any], weights: Sequence[int | float], seed: int) -> None:
        if not batches or len(weights) != len(batches):
            raise ValueError(
                f"weights={list(weights)}; every one of the {len(batches)} sources, one at "
                "least, needs a weight: give as many weights as sources"
            )
        for place, weight in enumerate(weights):
            check_number(f"weights[{place}]", weight)
        if any(int(weight) != weight or weight < 1 for weight in weights):
            raise ValueError(
                f"weights={list(weights)}; they must be whole numbers, at least 1: for three "
                "quarters and one, give (3, 1)"
            )
        if sum(weights) > MOST:
            raise ValueError(
                f"weights={list(weights)}; they must add up to at most {MOST:,}: divide them by "
                "what they share, (3, 1) for (3000, 1000)"
            )
        self._sources = [
            as_batches(source, seed=seed_for(seed, "mixture", number))
            for number, source in enumerate(batches)
        ]
        self._weights = [int(weight) for weight in weights]
        self._seed = seed
        self._turns = [s for s, weight in enumerate(self._weights) for _ in range(weight)]
        self._round, self._order = -1, self._turns

    def at(self, index: int) -> Any:
        """Return batch number `index`, counted over all sources."""
        source, own = self.place(index)
        return self._sources[source].at(own)

    def key(self, index: int) -> str:
        """Return a name for the batch that is equal for equal batches.

        Raises ValueError if its source has no `key(index)`.
        """
        source, own = self.place(index)
        key = getattr(self._sources[source], "key", None)
        if key is None:
            raise ValueError(
                f"batches[{source}]={type(self._sources[source]).__name__}; a store of targets "
                "needs `key(index)`: use `Cycled`, `Shuffled`, or a source of your own"
            )
        return f"{source}-{key(own)}"

    def place(self, index: int) -> tuple[int, int]:
        """Return which source gives batch `index`, and the number that it has there."""
        whole, turn = divmod(index, len(self._turns))
        if whole != self._round:
            generator = torch.Generator().manual_seed(seed_for(self._seed, "turns", whole))
            order = torch.randperm(len(self._turns), generator=generator, device="cpu").tolist()
            self._round, self._order = whole, [self._turns[place] for place in order]
        source = self._order[turn]
        return source, whole * self._weights[source] + self._order[:turn].count(source)
