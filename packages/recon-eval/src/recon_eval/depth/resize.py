"""Change the size of a depth map without inventing depths between two surfaces."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def resize(values: Shaped[Tensor, "v y x"], *, height: int, width: int) -> Shaped[Tensor, "v h w"]:
    """Return depth or a mask at another size, by the nearest pixel center.

    The center of output pixel i is (i + 0.5) * old / new in the input, and the pixel that holds it
    is taken. Scale the intrinsics by the same factors (pixel centers at + 0.5).
    """
    if height < 1 or width < 1:
        raise ValueError(
            f"height={height}, width={width}; both must be at least 1: pass those of the truth"
        )
    if not isinstance(values, Tensor) or values.ndim != 3:
        raise ValueError(
            f"values={_described(values)}; it must be a torch.Tensor v y x: pass "
            "torch.as_tensor(values)"
        )
    rows = _nearest(values.shape[1], height, values.device)
    columns = _nearest(values.shape[2], width, values.device)
    return values[:, rows[:, None], columns]


def _described(value: object) -> str:
    return f"tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _nearest(old: int, new: int, device: torch.device) -> Tensor:
    index = torch.arange(new, device=device)
    return ((2 * index + 1) * old // (2 * new)).clamp_max(old - 1)
