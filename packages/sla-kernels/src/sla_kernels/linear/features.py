"""Feature maps of the linear branch and what their gradients pull back to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """A non-negative map applied to each token's vector.

    `pull_back(x, phi, grad)` is the gradient of x, given phi = map(x) and the gradient of phi.
    """

    map: Callable[[Tensor], Tensor]
    pull_back: Callable[[Tensor, Tensor, Tensor], Tensor]


def _softmax_pull_back(x: Tensor, phi: Tensor, grad: Tensor) -> Tensor:
    return phi * (grad - (grad * phi).sum(-1, keepdim=True))


def _elu1_pull_back(x: Tensor, phi: Tensor, grad: Tensor) -> Tensor:
    return torch.where(x > 0, grad, grad * phi)


def _relu_pull_back(x: Tensor, phi: Tensor, grad: Tensor) -> Tensor:
    return torch.where(x > 0, grad, 0)


FEATURE_MAPS = {
    "softmax": FeatureMap(map=lambda x: x.softmax(-1), pull_back=_softmax_pull_back),
    "elu1": FeatureMap(map=lambda x: F.elu(x) + 1, pull_back=_elu1_pull_back),
    "relu": FeatureMap(map=F.relu, pull_back=_relu_pull_back),
}
