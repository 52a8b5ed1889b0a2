"""From layers prepared for training to layers that run FP8."""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from fp8_qat.backends import choose
from fp8_qat.fusion import unfuse
from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.linear import PREPARED, FrozenLinear, QuantizedLinear, ReleasedLinear
from fp8_qat.layers.states import FP8, become, state_of
from fp8_qat.layers.stored import Stored, settle, unstore
from fp8_qat.numerics.quantize import QuantizedTensor, dequantize
from fp8_qat.on_data.measure import layer_sqnr
from fp8_qat.on_data.runs import Run, call
from fp8_qat.report import ConvertedLayer, Report, sqnr

Model = TypeVar("Model", bound=nn.Module)


@torch.inference_mode(False)  # else nothing could be loaded into what is made here
def convert(
    model: nn.Module,
    *,
    backend: str = "auto",
    fast: bool = False,
    product: torch.dtype | None = None,
    batches: Iterable[Any] | None = None,
    run: Run = call,
) -> Report:
    """Turn every prepared layer of `model` into a deployed one, in place.

    Each layer keeps the very codes and scales it trained with, and so does every parameter
    that `store` was asked to keep as FP8.

    - `backend`: "auto" is "scaled_mm" where all layers are on a CUDA device that multiplies FP8
      and recipe and dtype are covered, and "weight_only" elsewhere; the report says which and why.
      Row scales are covered in bfloat16, which a float32 model has under `torch.autocast`: convert
      within it then, or name "scaled_mm".
      "reference" multiplies back before the product and equals training bit for bit;
      "scaled_mm" multiplies FP8 codes; "weight_only" keeps weights FP8 and leaves activations
      in high precision; "torchao" and "te" hand over to those libraries.
    - `fast`: let "scaled_mm" sum in the shorter accumulator of Hopper.
    - `product`: `torch.bfloat16` lets "weight_only" multiply in it, in a model of any dtype.
      "auto" does so on a CPU with instructions for it, where activations were quantized in
      training, which is the coarser rounding; None is otherwise the model's dtype.
    - `batches`: data on which the report compares each layer's output with high precision.

    Raises ValueError, before anything changes, for an unknown backend, for a model without
    prepared layers, for a weight that was unfrozen since, or quantized once and overwritten since,
    and naming every layer that the backend cannot run and why.
    """
    layers: dict[str, Any] = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, PREPARED)
    }
    if not layers:
        raise ValueError(
            "prepared layers=0; the model must hold some: call prepare(model, recipe) first"
        )
    for layer in layers.values():
        state_of(layer)  # refuses what changed its class since
        if isinstance(layer, FrozenLinear):
            layer.check_frozen()
            layer.check_unchanged()
    recipes = {name: (layer, layer.recipe) for name, layer in layers.items()}
    chosen = choose(backend, recipes, fast=fast, product=product)
    noise = {} if batches is None else layer_sqnr(model, batches, run=run)
    recipe = next(iter(layers.values())).recipe.name
    done = tuple(
        _convert_layer(name, layer, chosen.kind, noise.get(name)) for name, layer in layers.items()
    )
    return Report(
        backend=chosen.kind.backend,
        why=chosen.why,
        recipe=recipe,
        layers=done,
        left=left_over(model),
        stored=settle(model),
    )


def dequantized(model: Model) -> Model:
    """Copy a model so that each prepared or deployed layer is a plain `nn.Linear` again.

    Its weight holds the values that FP8 stands for, in the dtype of the product, and so does every
    parameter that was stored; inputs are no longer rounded. So it computes what backend
    "weight_only" does, and holds nothing of FP8, for devices and formats that have none. Norms and
    activations that `fuse` had passed on compute again; hooks and shared layers stay.
    """
    copied = copy.deepcopy(model)
    unstore(copied)
    unfuse(copied)
    for layer in list(copied.modules()):
        if isinstance(layer, QuantizedLinear):
            _make_plain(layer)
    return copied


def _make_plain(layer: Any) -> None:
    """Turn a layer of a copy into an `nn.Linear` that owns what such a layer owns, in place."""
    with torch.no_grad():
        weight = nn.Parameter(layer.dequantized_weight().clone(), requires_grad=False)
    bias, usual = layer.bias, vars(nn.Linear(1, 1, device="meta")).keys()
    for name in (*layer._buffers, *layer._modules, *(vars(layer).keys() - usual)):
        delattr(layer, name)
    layer._parameters.clear()
    layer.__class__ = nn.Linear
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)


def deploy(
    layer: nn.Linear, kind: type[Fp8Linear], quantized: QuantizedTensor, **given: Any
) -> None:
    """Turn a linear layer into a deployed one around codes and scales, in place, for good.

    - `given`: what `fp8_qat.layers.states` says that the layer must own and lacks.
    """
    become(layer, FP8, kind=kind, weight=quantized.codes, weight_scale=quantized.scale, **given)
    assert isinstance(layer, Fp8Linear)
    if layer.input_quantizer is not None:
        layer.input_quantizer.updating = False  # delayed scales too, while what is before trains
    layer.derive()


def left_over(model: nn.Module) -> tuple[str, ...]:
    """Name the linear layers of a model that are not deployed in FP8."""
    return tuple(
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and not isinstance(layer, Fp8Linear | Stored)
    )


def describe(name: str, layer: Any, output_sqnr_db: float | None = None) -> ConvertedLayer:
    """Say what became of one deployed layer."""
    n, k = layer.out_features, layer.in_features
    return ConvertedLayer(
        name=name,
        backend=layer.backend,
        shape=(n, k),
        weight_sqnr_db=layer.weight_sqnr_db,
        output_sqnr_db=output_sqnr_db,
        bytes_before=n * k * layer.weight_dtype.itemsize,
        bytes_after=sum(b.numel() * b.element_size() for b in layer.buffers(recurse=False)),
        note=layer.note(layer, layer.recipe),
    )


def _convert_layer(
    name: str,
    layer: QuantizedLinear,
    kind: type[Fp8Linear],
    output_sqnr_db: float | None,
) -> ConvertedLayer:
    quantized = layer.quantized_weight()
    if not isinstance(layer, ReleasedLinear):  # it may have been trained since prepare
        layer.weight_sqnr_db = sqnr(layer.weight, dequantize(quantized))
    like = torch.empty(0, dtype=layer.weight_dtype, device=layer.device)
    deploy(layer, kind, quantized, like=like)
    return describe(name, layer, output_sqnr_db)
