"""Tensors that two models gave, checked where they are first looked at."""

from torch import Tensor


def check_tensor(name: str, value: object, shape: str = "") -> Tensor:
    """Return a tensor of floating point.

    - `shape`: names of axes, or numbers that their lengths must have; empty for any.

    Raises TypeError for what is no tensor, ValueError for one of whole numbers or another shape.
    """
    value = check_kind(name, value, shape)
    if not value.is_floating_point():
        raise ValueError(
            f"{name}=tensor of {value.dtype}; it must be floating point: give {name}.float()"
        )
    axes = shape.split()
    fits = len(axes) == value.ndim and all(
        int(axis) == length
        for axis, length in zip(axes, value.shape, strict=True)
        if axis.isdecimal()
    )
    if axes and not fits:
        raise ValueError(
            f"{name}=tensor of shape {tuple(value.shape)}; it must be {shape}: bring it to that"
        )
    return value


def check_kind(name: str, value: object, shape: str = "") -> Tensor:
    """Return a tensor of any number type; `shape` is told. Raises TypeError for what is none."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}={type(value).__name__}; it must be a torch.Tensor {shape}".rstrip()
            + f": give torch.as_tensor({name})"
        )
    return value


def check_place(name: str, value: Tensor, other: str, like: Tensor) -> None:
    """Raise ValueError for a tensor on another device than `like`, which is called `other`."""
    if value.device != like.device:
        raise ValueError(
            f"{name}=tensor on {value.device}; it must be on {like.device}, as {other} is: give "
            f"{name}.to({str(like.device)!r})"
        )


def check_shape(name: str, value: Tensor, wanted: tuple[int, ...], why: str) -> None:
    """Raise ValueError for a tensor of another shape than `wanted`, which is that of `why`."""
    if tuple(value.shape) != wanted:
        raise ValueError(
            f"{name}=tensor of shape {tuple(value.shape)}; it must be {wanted}, the shape of "
            f"{why}: give one that is alike"
        )
