"""The sentences that unknown choices and other things than tensors get."""

from collections.abc import Iterable

from torch import Tensor


def check_tensor(name: str, value: object) -> None:
    """Raise TypeError for anything but a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}={type(value).__name__}; it must be a torch.Tensor: give "
            f"torch.as_tensor({name})"
        )


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Raise ValueError, listing the known values, unless `value` is one of them."""
    choices = list(known)
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"{name}={value!r}; it is not known: choose one of {listed}")
