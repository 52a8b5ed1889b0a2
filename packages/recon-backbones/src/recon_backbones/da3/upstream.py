"""Depth Anything 3 as its authors ship it, with the weights of ours: one more row.

Their wheel (depth_anything_3 0.1.1) runs its network in bfloat16 autocast over float32 weights;
so does this. The wheel is not required: where it cannot be imported, the row says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
PREFIX = "model."
UNREAD = "head.scratch.output_conv2_aux."


@dataclass(frozen=True)
class Seen:
    """What of upstream's answer is compared."""

    depth: Float[Tensor, "b v y x"]


class Upstream(nn.Module):
    """Upstream's network behind the interface of ours."""

    family = "da3"
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(
        self, images: Float[Tensor, "b v 3 y x"], *, reference: str = "saddle_balanced"
    ) -> Seen:
        """Depth of images in [0, 1]."""
        normalized = (images.float() - self.mean) / self.std
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            answer = self.net(normalized, None, None, [], False, False, reference)
        return Seen(answer["depth"].reshape(images.shape[0], images.shape[1], *images.shape[3:]))


def upstream(name: str) -> tuple[Callable[[Any], Any], str | None]:
    """What makes upstream's network out of a backbone of that name, and why it cannot, if so."""
    try:
        config = import_module("depth_anything_3.cfg")
        known = import_module("depth_anything_3.registry").MODEL_REGISTRY
    except ImportError as error:
        return _nothing, f"depth_anything_3 is not installed ({error})"
    if name not in known:
        return _nothing, f"depth_anything_3 has no {name}"

    def build(backbone: nn.Module) -> Upstream:
        net = config.create_object(config.load_config(known[name]))
        state = backbone.float().state_dict()
        _fill(net, {key.removeprefix(PREFIX): value for key, value in state.items()})
        device = next(backbone.parameters()).device
        return Upstream(net).to(device).eval()

    return build, None


def _fill(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Load all weights but those of ray levels that upstream makes and never reads.

    Raises ValueError when anything else differs.
    """
    found = net.load_state_dict(state, strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(UNREAD)]
    if missing or found.unexpected_keys:
        differ = [*missing, *found.unexpected_keys][:3]
        raise ValueError(
            f"weights and upstream's network differ in {', '.join(differ)}; they must be of "
            "one model: give those that fit"
        )


def _nothing(backbone: nn.Module) -> Any:
    raise ValueError("upstream's network is missing; it is not built then: install its wheel")
