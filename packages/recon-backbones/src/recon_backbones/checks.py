"""Arguments that hold tensors: shape, type and device, checked where a call enters the package.

Devices too: one that is not there is refused before anything is read for it.
"""

import torch
from torch import Tensor


class Axes:
    """The lengths of named axes, the type and the device, over the arguments of one call.

    >>> axes = Axes()
    >>> axes.check(torch.zeros(2, 5), "depth", "v x")
    >>> axes.check(torch.zeros(3, 4), "sky", "v x")
    Traceback (most recent call last):
    ValueError: sky=tensor of shape (3, 4); it must be v x with v = 2, as depth has: give it
    """

    def __init__(self) -> None:
        self.lengths: dict[str, tuple[object, str]] = {}
        self.first: tuple[Tensor, str] | None = None

    def check(self, value: object, name: str, shape: str, *, one_type: bool = True) -> None:
        """Raise ValueError, or TypeError for what is no tensor, where `value` is not as it must be.

        - `shape`: names of axes, or numbers; a name has one length in all arguments, and "..." in
          front stands for any axes, the same in all arguments.
        - `one_type`: whether all arguments must have one type.
        """
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}={type(value).__name__}; it must be a torch.Tensor {shape}: give "
                f"torch.as_tensor({name})"
            )
        if not value.is_floating_point():
            raise ValueError(
                f"{name}=tensor of {value.dtype}; it must be floating point: give {name}.float()"
            )
        self._check_shape(value, name, shape)
        if self.first is None:
            self.first = (value, name)
        self._check_place(value, name, *self.first, one_type)

    def _check_place(
        self, value: Tensor, name: str, first: Tensor, other: str, one_type: bool
    ) -> None:
        if value.device != first.device:
            raise ValueError(
                f"{name}=tensor on {value.device}; it must be on {first.device}, as {other} is: "
                f"give {name}.to({other}.device)"
            )
        if one_type and value.dtype != first.dtype:
            raise ValueError(
                f"{name}=tensor of {value.dtype}; it must be {first.dtype}, as {other} is: give "
                f"{name}.to({other}.dtype)"
            )

    def _check_shape(self, value: Tensor, name: str, shape: str) -> None:
        axes, found = shape.split(), tuple(value.shape)
        wrong = f"{name}=tensor of shape {found}; it must be {shape}"
        given: list[tuple[str, object]] = []
        if axes[0] == "...":
            axes = axes[1:]
            rest = len(found) - len(axes)
            if rest < 0:
                raise ValueError(f"{wrong}: give it")
            given, found = [("...", found[:rest])], found[rest:]
        if len(found) != len(axes):
            raise ValueError(f"{wrong}: give it")
        for axis, length in [*given, *zip(axes, found, strict=True)]:
            if axis.isdecimal():
                if length != int(axis):
                    raise ValueError(f"{wrong}: give it")
                continue
            known, other = self.lengths.setdefault(axis, (length, name))
            if length != known:
                raise ValueError(f"{wrong} with {axis} = {known}, as {other} has: give it")


def check_tensor(value: object, name: str) -> Tensor:
    """Return a tensor; raises TypeError for anything else."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}={type(value).__name__}; it must be a torch.Tensor: give "
            f"torch.as_tensor({name})"
        )
    return value


def check_device(value: Tensor, name: str, device: torch.device, other: str) -> None:
    """Raise ValueError for a tensor on another device than `other` is on."""
    if value.device != device:
        raise ValueError(
            f"{name}=tensor on {value.device}; it must be on {device}, as {other} is: give "
            f"{name}.to({str(device)!r})"
        )


def check_there(device: str | torch.device) -> None:
    """Raise ValueError for a device on which PyTorch can make no tensor here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch has no CUDA
        why = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"device={device}; PyTorch must find it here ({why}): use cpu") from error


def is_readable(x: Tensor) -> bool:
    """Whether values can be looked at: not on the meta device, nor while a graph is being made."""
    if x.is_meta or torch.compiler.is_compiling():
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())
