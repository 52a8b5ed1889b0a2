"""One text that tells weights apart."""

import hashlib

import torch

from recon_backbones.backbone import Backbone


def weights_digest(backbone: Backbone) -> str:
    """SHA-256 over the names, shapes and bytes of a backbone's weights, in order of names."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(data.numpy()))
    return digest.hexdigest()
