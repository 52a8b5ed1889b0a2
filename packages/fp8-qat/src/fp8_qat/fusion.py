"""Let a deployed layer do the norm or activation before it, in the same pass as quantizing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from fp8_qat.backends.scaled_mm import ScaledMMLinear
from fp8_qat.fused.op import gelu_quantize, layer_norm_quantize
from fp8_qat.numerics.quantize import QuantizedTensor
from fp8_qat.numerics.spec import Spec


class PassedNorm(nn.LayerNorm):
    """A layer norm that the layer after it computes; its parameters keep their names."""

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead k"]:
        return input


class PassedGELU(nn.GELU):
    """A GELU that the layer after it computes."""

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return input


_UNFUSED: dict[type[nn.Module], type[nn.Module]] = {
    PassedNorm: nn.LayerNorm,
    PassedGELU: nn.GELU,
}


@dataclass(frozen=True)
class NormThenQuantize:
    """What a fused layer does to its input: normalize with a layer's parameters, quantize."""

    norm: nn.LayerNorm

    def __call__(self, x: Float[Tensor, "*lead k"], spec: Spec) -> QuantizedTensor:
        return layer_norm_quantize(x, self.norm.weight, self.norm.bias, spec, eps=self.norm.eps)

    def parameters(self) -> Iterator[Tensor]:
        return self.norm.parameters()


@dataclass(frozen=True)
class GeluThenQuantize:
    """What a fused layer does to its input: activate, quantize."""

    def __call__(self, x: Float[Tensor, "*lead k"], spec: Spec) -> QuantizedTensor:
        return gelu_quantize(x, spec)

    def parameters(self) -> Iterator[Tensor]:
        return iter(())


def fuse(model: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Fuse each named norm or GELU with the deployed layer that reads its output.

    - `pairs`: (name of an `nn.LayerNorm` or `nn.GELU`, name of a layer on backend "scaled_mm"),
      such as ("blocks.0.norm1", "blocks.0.attn.qkv"). Nothing else may read the output
      of the first: it passes its input on unchanged from now on. A layer does one of them.

    The state dict stays as it is. Raises ValueError, before anything changes, naming each
    pair that cannot be fused and why.
    """
    chosen = list(pairs)
    layers = [_module(model, second) for _, second in chosen]
    problems = [
        f"{first} -> {second}: {problem}"
        for (first, second), layer in zip(chosen, layers, strict=True)
        if (problem := _problem(_module(model, first), layer, layers.count(layer)))
    ]
    if problems:
        raise ValueError(
            f"pairs={chosen}; nothing was fused, as each must fit and some do not: leave out or "
            "change\n" + "\n".join(problems)
        )
    for first, second in chosen:
        before, layer = _module(model, first), _module(model, second)
        assert isinstance(layer, ScaledMMLinear)
        if isinstance(before, nn.LayerNorm):
            layer.producer = NormThenQuantize(before)
            before.__class__ = PassedNorm
        else:
            layer.producer = GeluThenQuantize()
            before.__class__ = PassedGELU


def unfuse(model: nn.Module) -> None:
    """Let every norm and GELU that was passed on compute its own output again."""
    for module in model.modules():
        if isinstance(module, ScaledMMLinear):
            module.producer = None
        elif type(module) in _UNFUSED:
            module.__class__ = _UNFUSED[type(module)]


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"module={name!r}; the model must have it: give another name") from error


def _problem(before: nn.Module, layer: nn.Module, times: int) -> str | None:
    if not isinstance(layer, ScaledMMLinear):
        return f"{type(layer).__name__} is no deployed layer: convert(backend='scaled_mm') first"
    if layer.producer is not None or times > 1:
        return "the layer can do one norm or activation, and is named or fused with another"
    spec = layer.input_quantizer.spec if layer.input_quantizer else None
    if spec is None or spec.mode != "dynamic":
        return "its activations are not quantized with dynamic scales"
    if type(before) is nn.GELU:
        return None if before.approximate == "none" else "the GELU is the tanh approximation"
    if type(before) is not nn.LayerNorm:
        return f"{type(before).__name__} is neither an nn.LayerNorm nor an nn.GELU"
    if before.weight is None or before.bias is None:
        return "the norm lacks a weight or a bias"
    if tuple(before.normalized_shape) != (layer.in_features,):
        return f"the norm is over {before.normalized_shape}, the layer reads {layer.in_features}"
    return None
