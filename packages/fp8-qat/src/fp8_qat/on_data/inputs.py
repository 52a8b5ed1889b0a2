"""What the layers of a model are given: second moments of their inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fp8_qat.layers.selection import Choice, select_layers
from fp8_qat.on_data.runs import read_by_linear

ROWS = 2048  # of an input, evenly spaced, that a call adds


@contextmanager
def observed_inputs(
    model: nn.Module, *, include: Choice = None, exclude: Choice = None
) -> Iterator[dict[str, Float[Tensor, "k k"]]]:
    """Collect mean x x^T over the inputs x of linear layers, by name, within this context.

    with fp8_qat.observed_inputs(model) as moments:
        model(images)
    fp8_qat.prepare(model, recipe, moments=moments)

    Gives at the end, in float32, one matrix for each layer that was run; of every call at most 2048
    evenly spaced rows. Takes k x k numbers a layer.

    - `include`, `exclude`: the layers, as `prepare` takes them.

    Raises ValueError as `prepare` does for layers that cannot be chosen.
    """
    chosen, _ = select_layers(model, include, exclude)
    sums: dict[str, Tensor] = {}
    rows: dict[str, int] = {}
    hooks = [
        layer.register_forward_pre_hook(_adder(name, sums, rows), with_kwargs=True)
        for name, layer in chosen.items()
    ]
    moments: dict[str, Tensor] = {}
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()
    moments |= {name: total / rows[name] for name, total in sums.items()}


def _adder(name: str, sums: dict[str, Tensor], rows: dict[str, int]) -> Callable[..., None]:
    def add(_: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        x = rearrange(read_by_linear(given, named).detach(), "... k -> (...) k")
        x = x[:: -(-len(x) // ROWS) or 1].float()
        # Sums of a caller's bfloat16 are none; those of its inference mode end with that.
        with torch.autocast(x.device.type, enabled=False), torch.inference_mode(False):
            square = x.T @ x
        sums[name] = sums[name].add_(square) if name in sums else square
        rows[name] = rows.get(name, 0) + len(x)

    return add
