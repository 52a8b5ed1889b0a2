"""Where batches come from, in an order that a resumed run can find again."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import IterableDataset, default_collate

from distill.record.checks import check_tensor
from distill.record.settings import check_number
from distill.resume.rng import isolated_rng, seed_all, seed_for


@runtime_checkable
class Batches(Protocol):
    """A source that gives batch number `index` on request, always the same one.

    Random choices inside `at` may use the global generators: they are seeded by the run's
    seed and `index` before each call. A source may also have `key(index) -> str`, equal for
    equal batches, which cached teacher targets need.
    """

    def at(self, index: int) -> Any:
        """Return batch number `index`, from 0 without end."""
        ...


class Cycled:
    """The batches of a sequence, over and over.

    - `sequence`: anything with `len` and integer indexing; not empty.

    Raises ValueError if the sequence is empty.
    """

    def __init__(self, sequence: Sequence[Any]) -> None:
        if len(sequence) == 0:
            raise ValueError("batches=[]; at least one batch is needed: give a sequence with some")
        self._sequence = sequence

    def at(self, index: int) -> Any:
        """Return batch `index` modulo the length."""
        return self._sequence[index % len(self._sequence)]

    def key(self, index: int) -> str:
        """Return the place of the batch in the sequence."""
        return str(index % len(self._sequence))


class Shuffled:
    """The items of a data set in batches, in a new order every epoch.

    Which items share a batch is drawn once, so that every epoch sees the same batches and a
    teacher's targets can be kept; their order is drawn anew each epoch. The last items that
    do not fill a batch are left out of every epoch.

    - `items`: anything with `len` and integer indexing.
    - `batch_size`: items in a batch.
    - `seed`: decides grouping and order.
    - `collate`: makes one batch of a list of items; stacks tensors, mappings and tuples of them by
      default.

    Raises ValueError if there are fewer items than one batch holds.
    """

    def __init__(
        self,
        items: Any,
        *,
        batch_size: int = 1,
        seed: int = 0,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        check_number("batch_size", batch_size, whole=True)
        if not 1 <= batch_size <= len(items):
            raise ValueError(
                f"batch_size={batch_size}; it must be from 1 to the number of items: give at "
                f"most {len(items)}"
            )
        self._items, self._seed, self._collate = items, seed, collate
        order = self._permutation(len(items), "groups")
        whole = len(items) // batch_size * batch_size
        self._groups = [order[i : i + batch_size] for i in range(0, whole, batch_size)]
        self._epoch, self._order = -1, [0]

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._groups)

    def at(self, index: int) -> Any:
        """Return batch number `index`, counted over all epochs."""
        return self._collate([self._items[item] for item in self._groups[self._group(index)]])

    def key(self, index: int) -> str:
        """Return the number of the group of items."""
        return str(self._group(index))

    def _group(self, index: int) -> int:
        epoch, place = divmod(index, len(self._groups))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._permutation(len(self._groups), epoch)
        return self._order[place]

    def _permutation(self, length: int, place: int | str) -> list[int]:
        generator = torch.Generator().manual_seed(seed_for(self._seed, "order", place))
        return torch.randperm(length, generator=generator, device="cpu").tolist()


class Streamed:
    """Batches of a plain iterable, which can only be read forwards.

    An iterable that can be read again is restarted when it ends. A resumed run reads and
    drops what was already used, with the same random seeds.

    - `iterable`: gives batches in order.
    - `seed`: the seed of the run.
    """

    def __init__(self, iterable: Iterable[Any], *, seed: int) -> None:
        self._iterable, self._seed = iterable, seed
        self._iterator: Iterator[Any] | None = None
        self._next = 0

    def at(self, index: int) -> Any:
        """Return batch `index`, reading over those before it.

        Raises ValueError if the batch was read before, or the iterable ended.
        """
        if index < self._next:
            raise ValueError(
                f"index={index}; this batch of an iterable was already read: give a source with "
                "`at(index)`, see `distill.Batches`"
            )
        while self._next < index:
            seed_all(self._seed, self._next)
            self._read()
        seed_all(self._seed, index)
        return self._read()

    def _read(self) -> Any:
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            try:
                batch = next(self._iterator)
            except StopIteration:
                self._iterator = None
                continue
            self._next += 1
            return batch
        raise ValueError(
            "batches=[]; at least one batch is needed: give an iterable with some"
            if self._next == 0
            else f"batches={self._next} of them; the iterable ended and cannot be read again: "
            "give a sequence, or a source with `at(index)`"
        )


def as_batches(batches: Any, *, seed: int) -> Batches:
    """Return a source of numbered batches from a source, a sequence, or an iterable.

    Raises ValueError if it is none of these, or an empty sequence.
    """
    if isinstance(batches, Batches):
        return batches
    if is_indexed(batches) and not isinstance(batches, Mapping):
        return Cycled(batches)
    if isinstance(batches, Iterable) and not isinstance(batches, Mapping | str):
        return Streamed(batches, seed=seed)
    raise ValueError(
        f"batches={type(batches).__name__}; they must have `at(index)`, be a sequence, or be an "
        "iterable: give a list of batches"
    )


def is_indexed(value: Any) -> bool:
    """Return whether items can be had by number; iterable data sets only inherit the method."""
    indexed = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    return indexed and not isinstance(value, IterableDataset)


class Views:
    """Images `1 v 3 y x` by number: scenes in turn, their views shuffled anew each time.

    Each scene is made when it is first asked for, and kept; what it draws from the global
    generators follows from its number, so that a resumed run and other processes make the same.

    - `scene`: gives the images `v 3 y x` of a scene by number; `count`: how many scenes there are.
    - `views`: how many of a scene's views are drawn; all of them unless given.
    """

    def __init__(
        self, scene: Callable[[int], torch.Tensor], *, count: int = 1, views: int | None = None
    ) -> None:
        check_number("count", count, whole=True)
        check_number("views", views, whole=True, none=True)
        if count < 1:
            raise ValueError(f"count={count}; it must be at least 1: give a scene")
        if views is not None and views < 1:
            raise ValueError(f"views={views}; it must be at least 1, or None for all: give some")
        self._scene, self._count, self._views = scene, count, views
        self._images: dict[int, torch.Tensor] = {}

    def at(self, index: int) -> torch.Tensor:
        """Return batch `index`; the views come from the global generator.

        Raises ValueError, or TypeError for no tensor, for a scene without these axes.
        """
        number = index % self._count
        if number not in self._images:
            with isolated_rng():  # the views that are drawn must not tell when it was made
                seed_all(0, "scene", number)
                images = self._scene(number)
            self._images[number] = check_tensor(f"scene({number})", images, "v c y x")
        images = self._images[number]
        return images[torch.randperm(len(images), device="cpu")[: self._views]][None]
