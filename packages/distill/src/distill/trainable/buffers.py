"""Buffers of a model that change while it trains, such as running maxima of FP8 scales."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

SMALL_BYTES = 2**20
Held = dict[nn.Module, dict[str, Tensor | None]]  # buffers of each part, by name
Marks = dict[nn.Module, list[tuple[Tensor, int]]]  # each buffer, and how often overwritten


@dataclass(frozen=True)
class _Original:
    """A buffer at the start: the tensor, its version, and a copy where it is small."""

    tensor: Tensor
    version: int
    copy: Tensor | None

    def differs(self, now: Tensor) -> bool:
        if self.copy is not None:
            return not torch.equal(now, self.copy)
        return now is not self.tensor or version_of(now) != self.version

    def value(self, name: str) -> Tensor:
        if self.copy is not None:
            return self.copy
        if version_of(self.tensor) == self.version:
            return self.tensor
        raise ValueError(
            f"buffer={name!r} ({self.tensor.nbytes / 2**20:.0f} MiB); it was overwritten in "
            f"place, and its first values are gone, since none above {SMALL_BYTES // 2**20} MiB "
            "is copied: assign a new tensor to it instead"
        )


class Buffers:
    """The buffers of a model, and which of them are no longer what they were at the start.

    - `model`: its buffers at this moment are the originals.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._restored, self._made = model, set[str](), set[str]()
        self._originals = {
            name: _Original(
                buffer, version_of(buffer), buffer.clone() if buffer.nbytes <= SMALL_BYTES else None
            )
            for name, buffer in model.named_buffers()
        }
        self._filled = {
            _name(path, leaf): buffer is not None
            for path, module in model.named_modules(remove_duplicate=False)
            for leaf, buffer in module._buffers.items()
        }

    def changed(self) -> dict[str, Shaped[Tensor, "..."]]:
        """Return the buffers that changed, were replaced, were restored, or are new.

        What was restored may be as it was at the start of this session, and not of the first.
        """
        return {
            name: buffer
            for name, buffer in self._model.named_buffers()
            if name not in self._originals
            or name in self._restored
            or self._originals[name].differs(buffer)
        }

    def unsaved(self) -> set[str]:
        """Name the buffers that the model has made in the run, and its state dict leaves out."""
        return {
            _name(path, leaf)
            for path, module in self._model.named_modules()
            for leaf in module._non_persistent_buffers_set
        } - (self._filled.keys() - self._made)

    @torch.no_grad()
    def restore(
        self, tensors: Mapping[str, Shaped[Tensor, "..."]], unsaved: Collection[str] = ()
    ) -> None:
        """Give the buffers the values that `changed` returned, and all others the original.

        Those that the model has made or filled since, and that have no value here, are taken away.

        - `unsaved`: names that the state dict leaves out, of those that are to be made anew.

        Raises ValueError if a large buffer without a value was overwritten in place.
        """
        names = self._tied()
        for name in self.changed().keys() - tensors.keys():
            if name in self._originals:
                self._set(names[name], self._originals[name].value(name))
            else:
                self._take_away(names[name])
        for name, tensor in tensors.items():
            alone = [other for other in names.get(name, []) if other not in tensors]
            self._set([name, *alone], tensor, saved=name not in unsaved)
        self._restored |= tensors.keys()
        self._made |= set(unsaved)  # a former session in this process has made them, too

    def _tied(self) -> dict[str, list[str]]:
        """All names of the tensor that stands under a name: modules may share one."""
        named = list(self._model.named_buffers(remove_duplicate=False))
        by_tensor: dict[int, list[str]] = {}
        for name, buffer in named:
            by_tensor.setdefault(id(buffer), []).append(name)
        return {name: by_tensor[id(buffer)] for name, buffer in named}

    def _take_away(self, names: Iterable[str]) -> None:
        for name in names:
            path, _, leaf = name.rpartition(".")
            module = self._model.get_submodule(path)
            if not self._filled.get(name, True):
                setattr(module, leaf, None)
            elif name not in self._filled and hasattr(module, leaf):
                delattr(module, leaf)

    def _set(self, names: Iterable[str], tensor: Tensor, *, saved: bool = True) -> None:
        value: Tensor | None = None
        for name in names:
            path, _, leaf = name.rpartition(".")
            module = self._model.get_submodule(path)
            if value is None:
                present = getattr(module, leaf, None)
                like = next(self._model.parameters()) if present is None else present
                value = tensor.to(like.device, copy=True)
            if hasattr(module, leaf):
                setattr(module, leaf, value)
            else:  # one that the model makes while it runs
                module.register_buffer(leaf, value, persistent=saved)


class Unfinished:
    """Buffers as they were when a step began, for one that does not end.

    In the first step all small ones are copied, in each later one those that a step before it
    changed; others cannot be given back.

    - `model`: its buffers may change in any forward pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._changing = model, set[nn.Module]()
        self._before: Marks = {}
        self._kept: Held = {}
        self._begun = False

    def begin(self) -> None:
        """Note all buffers, and copy those that change."""
        first = not self._before
        if not first:
            self._changing.update(touched(self._model, self._before))
        self._before, self._begun = marks(self._model), True
        parts = self._model.modules() if first else self._changing
        self._kept = copied({part: part._buffers for part in parts}, SMALL_BYTES if first else inf)

    def end(self) -> None:
        """Leave the buffers as they are."""
        self._begun = False

    def undo(self) -> bool:
        """Give back what a step changed that began and did not end; return whether that is all."""
        if not self._begun:
            return True
        now = set(touched(self._model, self._before))
        put({part: self._kept[part] for part in self._kept.keys() & (self._changing | now)})
        return self._kept.keys() >= now


def copied(held: Held, largest: float | int = inf) -> Held:
    """Return copies of buffers, one of what parts share; above `largest` bytes, what was given."""
    known: dict[int, Tensor] = {}
    for buffers in held.values():
        for b in buffers.values():
            if b is not None and id(b) not in known:
                known[id(b)] = b.clone() if b.nbytes <= largest else b
    return {
        part: {name: b if b is None else known[id(b)] for name, b in buffers.items()}
        for part, buffers in held.items()
    }


def put(held: Held) -> None:
    """Let these be all buffers of their parts."""
    for part, buffers in held.items():
        part._buffers.clear()
        part._buffers.update(buffers)


def marks(model: nn.Module) -> Marks:
    """Return the buffers of each part of a model, and how often they were overwritten."""
    return {
        part: [(b, version_of(b)) for b in part._buffers.values() if b is not None]
        for part in model.modules()
    }


def touched(model: nn.Module, before: Marks) -> list[nn.Module]:
    """Return the parts of a model that made, replaced or overwrote a buffer of theirs since.

    A batch norm overwrites its means uncounted, and counts the batch in a buffer beside them.
    """
    return [
        part
        for part, now in marks(model).items()
        if len(now) != len(then := before.get(part, []))
        or any(
            b is not old or v != version for (b, v), (old, version) in zip(now, then, strict=True)
        )
    ]


def _name(path: str, leaf: str) -> str:
    return f"{path}.{leaf}" if path else leaf


def version_of(buffer: Tensor) -> int:
    """How often a buffer was overwritten; PyTorch does not count it for those of inference mode."""
    return 0 if buffer.is_inference() else buffer._version
