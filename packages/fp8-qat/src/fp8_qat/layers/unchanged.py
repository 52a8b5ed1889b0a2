"""Whether a weight is what it was when its codes were made."""

import hashlib

import torch
from torch import Tensor


def digest(*tensors: Tensor) -> bytes:
    """Tell a weight and its codes from others; what is without data has none of its own."""
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        if tensor.is_meta:
            return b""
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.digest()


def whole(weight: Tensor) -> Tensor:
    """The weight itself where each process holds a part of it."""
    return (weight.full_tensor() if hasattr(weight, "full_tensor") else weight).detach()


def writes_to(weight: Tensor) -> int:
    """How often a tensor was written to, as autograd counts; 0 where nobody does.

    Writes to `weight.data` are not counted.
    """
    return 0 if weight.is_inference() else weight._version
