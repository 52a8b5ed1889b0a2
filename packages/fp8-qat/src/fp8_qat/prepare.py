"""Turn the linear layers of a model into quantized ones, in place, and back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from fp8_qat.layers.inputs import named
from fp8_qat.layers.linear import PREPARED, FrozenLinear, QuantLinear, ReleasedLinear
from fp8_qat.layers.quantizers import Quantizer, input_quantizer, make_quantizer
from fp8_qat.layers.selection import Choice, Skipped, select_layers
from fp8_qat.layers.states import FROZEN, LINEAR, QUANT, RELEASED, become, state_of
from fp8_qat.layers.unchanged import digest, writes_to
from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.fitted import quantize_fitted
from fp8_qat.numerics.quantize import HIGH_PRECISION, QuantizedTensor, dequantize, quantize
from fp8_qat.numerics.spec import Recipe, Spec
from fp8_qat.report import finite, sqnr

WhenFrozen = Literal["trained", "frozen", "released"]


@torch.inference_mode(False)  # else what is made here could not be trained with
def prepare(
    model: nn.Module,
    recipe: Recipe,
    *,
    include: Choice = None,
    exclude: Choice = None,
    frozen: str = "auto",
    moments: Mapping[str, Tensor] | None = None,
) -> "Handle":
    """Make the chosen linear layers of `model` compute as they will when deployed in FP8.

    The layers are changed in place: names in the state dict, parameters, hooks and shared
    layers stay what they are (a delayed or static recipe adds its buffers).

    - `include`, `exclude`: glob patterns on qualified names, or a predicate of name and layer.
    - `frozen`: what becomes of a weight that does not require a gradient now. "auto" quantizes
      it once and releases the original, which leaves one byte a value; "keep" quantizes
      it once and holds the original too; "none" quantizes it anew in every forward.
    - `moments`: of the layers' inputs, as `observed_inputs` finds them. What is quantized once is
      then rounded to suit them (`numerics.fitted`), where a layer is named; else to the nearest,
      as are other values that are loaded later.

    Raises ValueError for a pattern that matches nothing, an empty choice, a weight dtype
    that cannot be quantized, one to quantize once of which each process holds a part, moments of
    another shape, and a model that is already prepared. Nothing has changed then.
    """
    check_choice("frozen", frozen, ("auto", "keep", "none"))
    chosen, skipped = select_layers(model, include, exclude)
    for name, layer in chosen.items():
        _check_weight(name, layer.weight, frozen)
    codes = {
        name: _quantized(layer.weight, recipe.weight.once(), frozen, (moments or {}).get(name))
        for name, layer in chosen.items()
    }
    entries = [
        _prepare_layer(name, layer, recipe, frozen, codes.pop(name))
        for name, layer in chosen.items()
    ]
    return Handle(model=model, recipe=recipe, layers=entries, skipped=skipped)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One quantized layer: its name, shape (n outputs, k inputs), and what its weight is.

    - `weight`: "trained", "frozen" (original kept) or "released" (FP8 bytes alone).
    - `weight_sqnr_db`: of the quantized against the original weight, at prepare.
    """

    name: str
    shape: tuple[int, int]
    weight: WhenFrozen
    weight_sqnr_db: float
    layer: nn.Linear = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Handle:
    """What `prepare` did to a model, and the switches that go with it."""

    model: nn.Module = field(repr=False)
    recipe: Recipe
    layers: list[Prepared]
    skipped: list[Skipped]

    def summary(self) -> str:
        """Name every quantized layer, and every skipped one with the reason, a line each."""
        lines = [f"recipe {self.recipe.name}: {len(self.layers)} layers quantized"]
        for entry in self.layers:
            n, k = entry.shape
            lines.append(
                f"  {entry.name or '(the model)'}  {n} x {k}  weight {entry.weight}, "
                f"{entry.weight_sqnr_db:.1f} dB"
            )
        lines.append(f"{len(self.skipped)} layers skipped")
        lines += [f"  {s.name or '(the model)'}  {s.kind}: {s.reason}" for s in self.skipped]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Give what `summary` says as plain values, for JSON; what is not finite becomes None."""
        layers = [
            {field.name: getattr(entry, field.name) for field in fields(entry) if field.repr}
            for entry in self.layers
        ]
        skipped = [asdict(entry) for entry in self.skipped]
        plain = {"recipe": asdict(self.recipe), "layers": layers, "skipped": skipped}
        result: dict[str, object] = finite(plain)
        return result

    def enable(self) -> None:
        """Switch quantization of all layers on, as it is after `prepare`."""
        for layer in [_prepared(entry) for entry in self.layers]:
            layer.enabled = True

    def disable(self) -> None:
        """Switch quantization of all layers off; ValueError for a model with released weights."""
        if self._released():
            raise ValueError(
                f"enabled=False; {self._released_layers()}, so they must stay on: prepare the "
                "model with frozen='keep'"
            )
        for layer in [_prepared(entry) for entry in self.layers]:
            layer.enabled = False

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute in high precision inside a `with` block."""
        before = [_prepared(entry).enabled for entry in self.layers]
        self.disable()
        try:
            yield
        finally:
            for entry, value in zip(self.layers, before, strict=True):
                _prepared(entry).enabled = value

    def freeze_scales(self) -> None:
        """Stop delayed scales from following the data; dynamic recipes are not touched."""
        for entry in self.layers:
            for module in entry.layer.modules():
                if isinstance(module, Quantizer):
                    module.updating = False

    def undo(self, *, released: str = "refuse") -> None:
        """Turn every layer back into a plain `nn.Linear`.

        Trained and kept weights come back as they are. Released weights exist no more:
        "refuse" raises ValueError before anything changes, "dequantize" puts the quantized
        values in their place. A layer that `convert` took over, or whose weight
        a hook or parametrization makes, raises ValueError before anything changes.
        """
        check_choice("released", released, ("refuse", "dequantize"))
        if released == "refuse" and self._released():
            raise ValueError(
                f"released='refuse'; {self._released_layers()}: prepare the model with "
                "frozen='keep', or undo(released='dequantize') for quantized values"
            )
        layers = [_prepared(entry) for entry in self.layers]
        for layer in layers:
            state_of(layer)  # refuses what changed its class since
        for layer in layers:
            restore(layer)

    def _released(self) -> list[str]:
        return [entry.name for entry in self.layers if entry.weight == "released"]

    def _released_layers(self) -> str:
        names = self._released()
        return f"{len(names)} layers released their original weight ({names[0]}, ...)"


def fixed_codes(model: nn.Module) -> dict[str, Shaped[Tensor, "n k"]]:
    """The FP8 codes of all weights that were quantized once, by name, where they lie."""
    return {
        f"{name}.weight_codes": layer.weight_bytes.view(layer.recipe.weight.fp8.dtype)
        for name, layer in model.named_modules()
        if isinstance(layer, FrozenLinear)
    }


def restore(layer: nn.Linear) -> None:
    """Turn one prepared layer back into a plain `nn.Linear`, in place."""
    if isinstance(layer, ReleasedLinear):
        weight = nn.Parameter(layer.dequantized_weight(), requires_grad=False)
        become(layer, LINEAR, weight=weight)
    else:
        become(layer, LINEAR)


def _quantized(weight: Tensor, spec: Spec, frozen: str, moments: Tensor | None) -> QuantizedTensor:
    """The codes of a weight; what trains is rounded to the nearest at every step."""
    if moments is None or weight.requires_grad or frozen == "none":
        return quantize(weight.detach(), spec)
    return quantize_fitted(weight.detach(), spec, moments)


def _prepare_layer(
    name: str, layer: nn.Linear, recipe: Recipe, frozen: str, quantized: QuantizedTensor
) -> Prepared:
    weight = layer.weight.detach()
    ratio = sqnr(weight, dequantize(quantized))
    where = named(name)
    given: dict[str, Any] = {
        "recipe": recipe,
        "where": where,
        "input_quantizer": input_quantizer(recipe, layer, where),
        "weight_sqnr_db": ratio,
        "enabled": True,
    }
    codes: dict[str, Any] = {"weight_bytes": quantized.bytes, "weight_scale": quantized.scale}
    kind: WhenFrozen = "trained"
    if layer.weight.requires_grad or frozen == "none":
        made = make_quantizer(recipe.weight, where=f"weight of {where}", device=weight.device)
        become(layer, QUANT, weight_quantizer=made.train(layer.training), **given)
    elif frozen == "keep":
        kind = "frozen"
        given |= {"made_from": digest(weight, *codes.values()), "seen": writes_to(weight)}
        become(layer, FROZEN, **codes, **given)
    else:
        kind = "released"
        become(layer, RELEASED, like=weight.new_empty(0), **codes, **given)
    shape = (layer.out_features, layer.in_features)
    return Prepared(name=name, shape=shape, weight=kind, weight_sqnr_db=ratio, layer=layer)


def _check_weight(name: str, weight: Tensor, frozen: str) -> None:
    if weight.dtype not in HIGH_PRECISION:
        raise ValueError(
            f"weight of {named(name)}: dtype={weight.dtype}; it must be float32, bfloat16 or "
            "float16: cast it, or exclude the layer"
        )
    if weight.is_meta:
        raise ValueError(
            f"weight of {named(name)}: device=meta; it must hold values: load the model's weights "
            "first"
        )
    if frozen != "none" and not weight.requires_grad and hasattr(weight, "full_tensor"):
        raise ValueError(
            f"weight of {named(name)}: type={type(weight).__name__}; it must be whole to be "
            "quantized once: prepare the model before fully_shard, or with frozen='none'"
        )


def _prepared(entry: Prepared) -> QuantLinear | FrozenLinear:
    if not isinstance(entry.layer, PREPARED):
        raise ValueError(
            f"{named(entry.name)}: kind={type(entry.layer).__name__}; it must be a prepared layer, "
            "and was converted or undone since: prepare a plain model anew"
        )
    return entry.layer
