"""What a quantized layer asks of its input, and the dtype in which it multiplies."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fp8_qat.numerics.errors import check_tensor
from fp8_qat.numerics.quantize import HIGH_PRECISION


def named(name: str) -> str:
    """Give a layer's qualified name as errors say it."""
    return f"layer {name or '(the model)'!r}"


def layer_input(
    layer: Any, x: Float[Tensor, "*lead k"], *, any_dtype: bool = False
) -> Float[Tensor, "*lead k"]:
    """Check an input and bring it to the dtype of the product; the rest is as `product_dtype`."""
    dtype = product_dtype(layer, x, any_dtype=any_dtype)  # first: it refuses what has no `to`
    return x.to(dtype)


def product_dtype(
    layer: Any, x: Float[Tensor, "*lead k"], *, any_dtype: bool = False
) -> torch.dtype:
    """Check an input and give the dtype that the product will have: under autocast its own.

    - `layer`: a prepared or deployed layer; errors say its name, which `where` holds.
    - `any_dtype`: take an input of another dtype than the layer's weight has.

    Raises ValueError for an input of another width, device or dtype than the layer reads.
    """
    # The name is read where it is refused alone: layers of other names then share compiled code.
    if not isinstance(x, Tensor):
        check_tensor(f"input of {layer.where}", x)
    device = x.device.type
    if x.device != layer.device:
        raise ValueError(
            f"input of {layer.where}: device={x.device}; it must be {layer.device}, where the "
            "layer is: move one to the other"
        )
    if x.dtype not in HIGH_PRECISION:
        raise ValueError(
            f"input of {layer.where}: dtype={x.dtype}; it must be float32, bfloat16 or float16: "
            "cast it"
        )
    if x.ndim == 0 or x.shape[-1] != layer.in_features:
        raise ValueError(
            f"input of {layer.where}: shape={tuple(x.shape)}; its last axis must be "
            f"{layer.in_features}: give the features that the layer reads"
        )
    if device != "meta" and torch.is_autocast_enabled(device):  # meta knows no autocast
        return torch.get_autocast_dtype(device)
    if not any_dtype and x.dtype != layer.weight_dtype:
        raise ValueError(
            f"input of {layer.where}: dtype={x.dtype}; it must be the weight's "
            f"{layer.weight_dtype}: cast one to the other, or use torch.autocast"
        )
    return x.dtype
