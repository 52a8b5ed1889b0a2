"""From layers prepared for training to layers that run FP8."""

from typing import Any

from torch import nn

from fp8_qat.backends import check_layers, layer_class
from fp8_qat.deployed import Fp8Linear, deploy
from fp8_qat.linear import PREPARED
from fp8_qat.report import ConvertedLayer, Report


def convert(model: nn.Module, *, backend: str = "reference") -> Report:
    """Turn every prepared layer of `model` into a deployed one, in place.

    Each layer keeps the very codes and scales it trained with. "reference" multiplies back
    before the product and equals training bit for bit; "scaled_mm" multiplies FP8 codes;
    "weight_only" leaves activations in high precision.

    Raises ValueError, before anything changes, for an unknown backend, for a model without
    prepared layers, and naming every layer that the backend cannot run and why.
    """
    kind = layer_class(backend)
    layers: dict[str, Any] = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, PREPARED)
    }
    if not layers:
        raise ValueError("the model holds no prepared layer: call prepare(model, recipe) first")
    check_layers(kind, {name: (layer, layer.recipe) for name, layer in layers.items()})
    done = tuple(_convert_layer(name, layer, kind) for name, layer in layers.items())
    recipe = next(iter(layers.values())).recipe.name
    return Report(backend=backend, recipe=recipe, layers=done)


def _convert_layer(name: str, layer: Any, kind: type[Fp8Linear]) -> ConvertedLayer:
    dtype, quantized = layer.weight.dtype, layer.quantized_weight()
    deploy(layer, kind, quantized, dtype)
    trained = layer.recipe.activation is not None
    lost = kind.backend == "weight_only" and trained
    return ConvertedLayer(
        name=name,
        backend=kind.backend,
        shape=(layer.out_features, layer.in_features),
        weight_sqnr_db=layer.weight_sqnr_db,
        bytes_before=quantized.codes.numel() * dtype.itemsize,
        bytes_after=quantized.codes.numel() + 4 * quantized.scale.numel(),
        note="activations were quantised in training and are not here" if lost else "",
    )
