"""Tensors as a file holds them."""

import torch
from torch import Tensor


def narrowed(tensor: Tensor) -> Tensor:
    """A float32 tensor as bfloat16 where that holds each value exactly; any other as it is.

    Public weights come in bfloat16 and are multiplied in float32: nothing is lost on the way back.
    """
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.to(torch.bfloat16)
    return half if torch.equal(half.float(), tensor) else tensor


def unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors that share memory, which a safetensors file cannot express."""
    seen: set[int] = set()
    result = {}
    for key, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        plain = tensor.detach().contiguous()
        result[key] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    return result
