"""Arguments that hold tensors: shape, type and device, checked where a call enters the package."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

ROWS = ((3, 4), (4, 4))
Given = ParamSpec("Given")
Made = TypeVar("Made")


def without_autocast(call: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same call in the number types of its tensors: autocast rounds geometry to 16 bits."""

    @wraps(call)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return call(*args, **kwargs)

    return run


class Axes:
    """The lengths of named axes and the device, over the arguments of one call.

    >>> axes = Axes()
    >>> axes.check(torch.zeros(2, 5), "predicted", "v x")
    >>> axes.check(torch.zeros(2, 6), "target", "v x")
    Traceback (most recent call last):
    ValueError: target=tensor of shape (2, 6); it must be v x with x = 5, as predicted has: give it
    """

    def __init__(self) -> None:
        self.lengths: dict[str, tuple[int, str]] = {}
        self.placed: tuple[torch.device, str] | None = None

    def check(
        self, value: Tensor, name: str, shape: str, *, boolean: bool = False, way: str = ""
    ) -> None:
        """Raise ValueError, or TypeError for what is no tensor, where `value` is not as it must be.

        - `shape`: names of axes, or numbers; a name has one length in all arguments.
        - `boolean`: whether it holds truth values; else floating point.
        - `way`: what to do about lengths that differ.
        """
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}={type(value).__name__}; it must be a torch.Tensor {shape}: pass "
                f"torch.as_tensor({name})"
            )
        if (value.dtype == torch.bool) != boolean or not (boolean or value.is_floating_point()):
            kind, way = ("bool", "bool") if boolean else ("floating point", "float")
            raise ValueError(
                f"{name}=tensor of {value.dtype}; it must be {kind}: give {name}.{way}()"
            )
        self._check_shape(value, name, shape.split(), way)
        if self.placed is None:
            self.placed = (value.device, name)
        elif value.device != self.placed[0]:
            where, other = self.placed
            raise ValueError(
                f"{name}=tensor on {value.device}; it must be on {where}, as {other} is: give "
                f"{name}.to({other}.device)"
            )

    def _check_shape(self, value: Tensor, name: str, axes: list[str], way: str) -> None:
        found = f"{name}=tensor of shape {tuple(value.shape)}; it must be {' '.join(axes)}"
        if value.ndim != len(axes):
            raise ValueError(f"{found}: give it")
        for axis, length in zip(axes, value.shape, strict=True):
            if axis.isdecimal():
                if length != int(axis):
                    raise ValueError(f"{found}: give it")
                continue
            known, other = self.lengths.setdefault(axis, (length, name))
            if length != known:
                raise ValueError(
                    f"{found} with {axis} = {known}, as {other} has: {way or 'give it'}"
                )


def matrices_of(cameras: Tensor, name: str) -> Tensor:
    """Return world-to-camera matrices `... 3 4`, given those or `... 4 4` with 0 0 0 1 below.

    Raises ValueError for another shape, type, or last row.
    """
    if not isinstance(cameras, Tensor):
        raise TypeError(
            f"{name}={type(cameras).__name__}; it must be a torch.Tensor v 3 4: pass "
            f"torch.as_tensor({name})"
        )
    if tuple(cameras.shape[-2:]) not in ROWS:
        raise ValueError(
            f"{name}=tensor of shape {tuple(cameras.shape)}; it must end in 3 4 or 4 4: give "
            "world-to-camera matrices"
        )
    if not cameras.is_floating_point():
        raise ValueError(
            f"{name}=tensor of {cameras.dtype}; it must be floating point: give {name}.float()"
        )
    last = cameras[..., 3:, :]
    below = cameras.new_tensor([0.0, 0.0, 0.0, 1.0])
    if bool(((last - below).abs() > 1e-6).any()):
        raise ValueError(
            f"{name}: the last row of a matrix is {last.reshape(-1, 4)[0].tolist()}; it must be "
            "0 0 0 1: give world-to-camera matrices, not transposed"
        )
    return cameras[..., :3, :]


def rig_of(cameras: Tensor, name: str) -> Tensor:
    """Return the matrices `v 3 4` of one scene. Raises ValueError for a batch of scenes."""
    found = matrices_of(cameras, name)
    if found.ndim != 3:
        raise ValueError(
            f"{name}=tensor of shape {tuple(cameras.shape)}; it must be v 3 4 or v 4 4, one scene: "
            "give scene by scene"
        )
    return found
