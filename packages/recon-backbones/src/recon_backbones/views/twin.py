"""A network's twin without data: its modules and settings, and of its tensors the shapes alone."""

import copy
import weakref
from dataclasses import is_dataclass
from types import FunctionType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.backbone import Backbone
from recon_backbones.blocks.attention import Attention, DenseAttention
from recon_backbones.errors import InputError

PLAIN = (bool, int, float, str, torch.dtype, type(None))


class _Fused(nn.Module):
    """Has the memory of fused attention: the output and one number a query."""

    def forward(
        self, q: Float[Tensor, "b h n d"], k: Tensor, v: Tensor, *, pinned: Tensor | None = None
    ) -> Float[Tensor, "b h n d"]:
        _ = q.new_empty(q.shape[:-1], dtype=torch.float32)
        return torch.empty_like(q)


def twin_of(network: Backbone, *, half: bool) -> Backbone:
    """A copy on the meta device, for one to run while the network itself is in use.

    Dense attention is what has its memory. A function that was set as a module's `forward` holds
    on to the network, so that of the module's class runs.

    - `half`: float32 becomes 16 bits.

    Raises InputError for a network that cannot be copied.
    """
    held = (v for part in network.modules() for v in vars(part).values() if isinstance(v, Tensor))
    tensors = (*network.parameters(), *network.buffers(), *held)
    try:
        twin = copy.deepcopy(network, {id(tensor): _empty(tensor, half) for tensor in tensors})
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"network={network.name}; its memory is predicted by a copy, and it cannot be copied "
            f"({error}): hold what cannot outside of it, or give no budget and enough memory"
        ) from error
    for part in twin.modules():
        if isinstance(vars(part).get("forward"), FunctionType):
            del part.forward
        if isinstance(part, Attention) and isinstance(part.core, DenseAttention):
            part.core = _Fused()
    return twin


def state_of(network: nn.Module) -> list[tuple[object, ...]]:
    """All that the memory of a forward pass follows from; equal while that stays as it is.

    Of every module: itself, which the state does not keep alive, its settings, and the types and
    shapes of its tensors.
    """
    return [(weakref.ref(part), _settings(part), _shapes(part)) for part in network.modules()]


def _settings(part: nn.Module) -> dict[str, object]:
    """Attributes that are plain values, and what is made of them."""
    held = {k: v for k, v in vars(part).items() if not isinstance(v, (dict, Tensor))}
    return {
        k: v if isinstance(v, PLAIN) else repr(v)
        for k, v in held.items()
        if isinstance(v, PLAIN) or is_dataclass(v)
    }


def _shapes(part: nn.Module) -> list[tuple[torch.dtype, torch.Size]]:
    own = (*part._parameters.values(), *part._buffers.values())
    return [(tensor.dtype, tensor.shape) for tensor in own if tensor is not None]


def _empty(tensor: Tensor, half: bool) -> Tensor:
    dtype = torch.bfloat16 if half and tensor.dtype == torch.float32 else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype, requires_grad=False)
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(empty, requires_grad=False) if is_parameter else empty
