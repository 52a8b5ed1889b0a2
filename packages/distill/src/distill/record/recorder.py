"""Read tensors inside a model by forward hooks, without changing the model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from distill.record.names import Role, find_module
from distill.record.pairs import Tap

Records = dict[Tap, list[Tensor]]
Consumer = Callable[[tuple[Any, ...], Mapping[str, Any], Any], None]


class PassEnded(BaseException):
    """Leaves a forward pass once every expected tensor has been read."""


class Recorder:
    """A context manager that keeps references to what named modules put out.

    Hooks exist only inside the `with` block and record only inside `recording()`, so that a
    recomputation during backward, or another model that shares the module, adds nothing.
    No tensor is copied but those of inference mode: a model that later overwrites a recorded
    tensor is reported.

    - `model`: the model to read; it is not changed.
    - `taps`: where to read; repeated taps are read once.
    - `role`: "teacher" or "student", for error messages.
    - `consumers`: called with arguments, named arguments and output of a module each time it runs
      in a recorded pass; nothing of them is kept.

    Raises ValueError, on construction, if a tap names no module.
    """

    def __init__(
        self,
        model: nn.Module,
        taps: Iterable[Tap],
        role: Role,
        consumers: Iterable[tuple[Tap, Consumer]] = (),
    ) -> None:
        self._role = role
        self.taps = list(dict.fromkeys(taps))
        self._modules = {tap: find_module(model, tap.module, role) for tap in self.taps}
        self._consumers = [
            (tap, find_module(model, tap.module, role), consume) for tap, consume in consumers
        ]
        self._passed = [0] * len(self._consumers)
        self._handles: list[RemovableHandle] = []
        self._records: Records = {}
        self._versions: dict[Tap, list[int]] = {}
        self._blind: list[tuple[Tap, Tensor]] = []  # made without gradients in a pass with them
        self._active = self._learns = False
        self._expected: int | None = None

    def __enter__(self) -> "Recorder":
        for tap, module in self._modules.items():
            self._handles.append(self._hook(tap, module))
        for place, (_, module, consume) in enumerate(self._consumers):
            self._handles.append(self._pass_on(place, module, consume))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._clear()

    @contextmanager
    def recording(self, expected: int | None = None) -> Iterator[None]:
        """Record what runs in this block, from an empty start.

        - `expected`: leave the block after this many tensors, skipping the rest of the pass.
        """
        self._clear()
        self._active, self._learns, self._expected = True, torch.is_grad_enabled(), expected
        try:
            yield
        except PassEnded:
            pass
        finally:
            self._active = False

    def count(self) -> int:
        """Return how many tensors the last pass put out, kept or passed on."""
        return sum(map(len, self._records.values())) + sum(self._passed)

    def take(self) -> Records:
        """Return the tensors of the last pass, in call order, and forget them.

        Raises ValueError if a module did not run, its tensor was overwritten in place since, or a
        pass with gradients made it without any.
        """
        for tap in self._modules:
            self._check(tap)
        for count, (tap, _, _) in zip(self._passed, self._consumers, strict=True):
            if not count:
                raise _did_not_run(tap, self._role)
        for tap, tensor in self._blind:
            _check_learns(tap, tensor, self._role)
        records = {tap: self._records[tap] for tap in self._modules}
        self._clear()
        return records

    def _check(self, tap: Tap) -> None:
        if tap not in self._records:
            raise _did_not_run(tap, self._role)
        for tensor, version in zip(self._records[tap], self._versions[tap], strict=True):
            if tensor._version != version:
                raise ValueError(
                    f"module={tap.module!r}; its {tap.at} in the {self._role} was overwritten in "
                    "place after it was recorded: pair a module around it instead"
                )

    def _hook(self, tap: Tap, module: nn.Module) -> RemovableHandle:
        if tap.at == "output":
            return module.register_forward_hook(lambda _, __, out: self._keep(tap, out))
        return module.register_forward_pre_hook(lambda _, args: self._keep(tap, args))

    def _keep(self, tap: Tap, value: Any) -> None:
        if not self._active:
            return
        tensor = usable(chosen_tensor(value, tap, self._role))
        self._records.setdefault(tap, []).append(tensor)
        self._versions.setdefault(tap, []).append(tensor._version)
        if self._learns and not torch.is_grad_enabled():
            self._blind.append((tap, tensor))
        self._end_if_complete()

    def _pass_on(self, place: int, module: nn.Module, consume: Consumer) -> RemovableHandle:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._active:
                consume(args, kwargs, output)
                self._passed[place] += 1
                self._end_if_complete()

        return module.register_forward_hook(hook, with_kwargs=True)

    def _end_if_complete(self) -> None:
        if self._expected is not None and self.count() >= self._expected:
            raise PassEnded

    def _clear(self) -> None:
        self._records, self._versions, self._blind = {}, {}, []
        self._passed = [0] * len(self._consumers)


def usable(tensor: Tensor) -> Tensor:
    """Copy what was made under inference mode, which no backward pass could use."""
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor


def _check_learns(tap: Tap, tensor: Tensor, role: str) -> None:
    """Refuse a tensor without gradients, unless a checkpoint around its module gave it some."""
    if not tensor.requires_grad:
        raise ValueError(
            f"module={tap.module!r}; its {tap.at} in the {role} was made without gradients, as in "
            "a checkpoint with use_reentrant=True or torch.no_grad(), so its pair would teach "
            "nothing: checkpoint with use_reentrant=False, or leave the pair out"
        )


def _did_not_run(tap: Tap, role: str) -> ValueError:
    return ValueError(
        f"module={tap.module!r}; it did not run in the pass of the {role}, so its pair has "
        "nothing to compare: remove the pair, or feed the input it needs"
    )


def chosen_tensor(value: Any, tap: Tap, role: str) -> Tensor:
    """Return the tensor that a tap reads in what a module takes or returns.

    Raises ValueError if there is no tensor at its place, or a nested one.
    """
    if isinstance(value, Tensor):
        return _plain(value, tap, role)
    elements = list(value) if isinstance(value, tuple | list) else []
    chosen = elements[tap.item] if tap.item < len(elements) else None
    if isinstance(chosen, Tensor):
        return _plain(chosen, tap, role)
    kinds = [type(element).__name__ for element in elements] or type(value).__name__
    raise ValueError(
        f"item={tap.item}; the {tap.at} of module {tap.module!r} of the {role} has no tensor "
        f"there, it is {kinds}: choose another, or pair a module that passes tensors by position"
    )


def _plain(tensor: Tensor, tap: Tap, role: str) -> Tensor:
    if tensor.is_nested:
        raise ValueError(
            f"module={tap.module!r}; its {tap.at} in the {role} is a nested tensor; pairs compare "
            "plain ones: make nn.TransformerEncoder with enable_nested_tensor=False"
        )
    return tensor
