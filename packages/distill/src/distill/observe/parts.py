"""What a batch is made of, whatever holds its tensors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from distill.trainable.buffers import version_of

DEEPEST = 4


def parts_of(value: Any) -> dict[Any, Any]:
    """Return what a container or an object holds, by key, place or name."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    held = dict(getattr(value, "__dict__", {}))
    named = fields(value) if is_dataclass(value) and not isinstance(value, type) else ()
    return held | {f.name: getattr(value, f.name, None) for f in named if f.name not in held}


def form(batch: Any, depth: int = DEEPEST) -> str:
    """Return the shapes in a batch: where they are others, modules may run more or less often."""
    shape = getattr(batch, "shape", None)
    if isinstance(shape, tuple):
        return str(tuple(shape))
    parts = parts_of(batch).values()
    return f"[{','.join(form(part, depth - 1) for part in parts)}]" if depth else ""


@contextmanager
def left_whole(batch: Any) -> Iterator[None]:
    """Raise ValueError if the block overwrites a tensor of a batch that both models are to see."""
    before = [(tensor, version_of(tensor)) for tensor in _tensors(batch)]
    yield
    if any(version_of(tensor) != version for tensor, version in before):
        raise ValueError(
            f"batch={type(batch).__name__}; a model overwrote a tensor of it in place, and the "
            "other model and later epochs would see another batch: let `forward` give it a copy"
        )


def _tensors(value: Any, depth: int = DEEPEST) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth:
        for part in parts_of(value).values():
            yield from _tensors(part, depth - 1)
