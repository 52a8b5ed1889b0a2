"""Tell weights and batches apart without keeping them."""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

SAMPLE = 4096


def fingerprint(tensors: Mapping[str, Shaped[Tensor, "..."]]) -> str:
    """Return a digest of names, shapes, formats and up to 4096 evenly spaced values of each."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes(tensor.detach()))
    return digest.hexdigest()


def fingerprint_model(model: nn.Module) -> str:
    """Return a digest of what a model answers by: its parameters, and the buffers that are saved.

    Running statistics are among these, and weights that a quantized layer keeps as codes.
    """
    saved = {
        f"{path}.{leaf}": buffer
        for path, part in model.named_modules()
        for leaf, buffer in part._buffers.items()
        if buffer is not None and leaf not in part._non_persistent_buffers_set
    }
    return fingerprint(dict(model.named_parameters()) | saved)


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.reshape(-1)
    sample = flat[:: max(1, flat.numel() // SAMPLE)].contiguous()
    return bytes(sample.view(torch.uint8).cpu().numpy().tobytes())
