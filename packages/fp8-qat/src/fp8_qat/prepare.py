"""Turn the linear layers of a model into quantised ones, in place, and back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fp8_qat.layers.inputs import named
from fp8_qat.layers.linear import PREPARED, FrozenLinear, QuantLinear, ReleasedLinear
from fp8_qat.layers.quantizers import Quantizer, make_quantizer
from fp8_qat.layers.selection import Choice, Skipped, select_layers
from fp8_qat.numerics.quantize import HIGH_PRECISION, dequantize, quantize
from fp8_qat.numerics.spec import Recipe
from fp8_qat.report import finite, sqnr

FROZEN = ("auto", "keep", "none")


def prepare(
    model: nn.Module,
    recipe: Recipe,
    *,
    include: Choice = None,
    exclude: Choice = None,
    frozen: str = "auto",
) -> "Handle":
    """Make the chosen linear layers of `model` compute as they will when deployed in FP8.

    The layers are changed in place: names in the state dict, parameters, hooks and shared
    layers stay what they are (a delayed or static recipe adds its buffers).

    include, exclude: glob patterns on qualified names, or a predicate of name and layer.
    frozen: what becomes of a weight that does not require a gradient now. "auto" quantises
        it once and releases the original, which leaves one byte a value; "keep" quantises
        it once and holds the original too; "none" quantises it anew in every forward.

    Raises ValueError for a pattern that matches nothing, an empty choice, a weight dtype
    that cannot be quantised, and a model that is already prepared. Nothing has changed then.
    """
    if frozen not in FROZEN:
        raise ValueError(f"frozen is {frozen!r}; choose one of {', '.join(FROZEN)}")
    chosen, skipped = select_layers(model, include, exclude)
    for name, layer in chosen.items():
        _check_weight(name, layer.weight)
    entries = [_prepare_layer(name, layer, recipe, frozen) for name, layer in chosen.items()]
    return Handle(model=model, recipe=recipe, layers=entries, skipped=skipped)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One quantised layer: its name, shape (n outputs, k inputs), and what its weight is.

    weight: "trained", "frozen" (original kept) or "released" (FP8 bytes alone).
    weight_sqnr_db: of the quantised against the original weight, at prepare.
    """

    name: str
    shape: tuple[int, int]
    weight: Literal["trained", "frozen", "released"]
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
        """Name every quantised layer, and every skipped one with the reason, a line each."""
        lines = [f"recipe {self.recipe.name}: {len(self.layers)} layers quantised"]
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

    def enabled(self, value: bool) -> None:
        """Switch quantisation of all layers on or off.

        Raises ValueError when switching off a model with released weights.
        """
        released = [entry.name for entry in self.layers if entry.weight == "released"]
        if not value and released:
            raise ValueError(
                f"{len(released)} layers released their original weight ({released[0]}, ...) and "
                "cannot be switched off: prepare the model with frozen='keep'"
            )
        for entry in self.layers:
            _prepared(entry).enabled = value

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute in high precision inside a `with` block."""
        before = [_prepared(entry).enabled for entry in self.layers]
        self.enabled(False)
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
        "refuse" raises ValueError before anything changes, "dequantize" puts the quantised
        values in their place. A layer that `convert` took over raises ValueError.
        """
        if released not in ("refuse", "dequantize"):
            raise ValueError(f"released is {released!r}; choose one of refuse, dequantize")
        gone = [entry.name for entry in self.layers if entry.weight == "released"]
        if gone and released == "refuse":
            raise ValueError(
                f"{len(gone)} layers released their original weight ({gone[0]}, ...): prepare the "
                "model with frozen='keep', or undo(released='dequantize') for quantised values"
            )
        for layer in [_prepared(entry) for entry in self.layers]:
            restore(layer)


def restore(layer: nn.Linear) -> None:
    """Turn one prepared layer back into a plain `nn.Linear`, in place."""
    weight = layer.weight.detach() if isinstance(layer, ReleasedLinear) else None
    for buffer in ("weight_bytes", "weight_scale", "like"):
        layer._buffers.pop(buffer, None)
        layer._non_persistent_buffers_set.discard(buffer)
    for child in ("input_quantizer", "weight_quantizer"):
        layer._modules.pop(child, None)
    for attribute in ("recipe", "where", "enabled", "weight_sqnr_db"):
        layer.__dict__.pop(attribute, None)
    _become(layer, nn.Linear)
    if weight is not None:
        bias = layer._parameters.pop("bias")
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.register_parameter("bias", bias)


def _prepare_layer(name: str, layer: Any, recipe: Recipe, frozen: str) -> Prepared:
    weight = layer.weight.detach()
    quantized = quantize(weight, recipe.weight.once())
    ratio = sqnr(weight, dequantize(quantized))
    kind: Literal["trained", "frozen", "released"] = "trained"
    if not layer.weight.requires_grad and frozen != "none":
        kind = "released" if frozen == "auto" else "frozen"
    device = weight.device
    activation = recipe.activation
    layer.where = named(name)
    layer.input_quantizer = None
    if activation is not None:
        where = f"the input of {layer.where}"
        layer.input_quantizer = make_quantizer(activation, where=where, device=device)
    layer.recipe, layer.enabled, layer.weight_sqnr_db = recipe, True, ratio
    if kind == "trained":
        where = f"the weight of {layer.where}"
        layer.weight_quantizer = make_quantizer(recipe.weight, where=where, device=device)
        _become(layer, QuantLinear)
    else:
        _become(layer, FrozenLinear).set_quantized(quantized)
    if kind == "released":
        del layer.weight
        layer.register_buffer("like", torch.empty(0, dtype=weight.dtype, device=device), False)
        _become(layer, ReleasedLinear)
    layer.train(layer.training)
    shape = (layer.out_features, layer.in_features)
    return Prepared(name=name, shape=shape, weight=kind, weight_sqnr_db=ratio, layer=layer)


def _check_weight(name: str, weight: Tensor) -> None:
    if weight.dtype not in HIGH_PRECISION:
        raise ValueError(
            f"{named(name)} has a weight of {weight.dtype}: cast it to float32, bfloat16 or "
            "float16, or exclude it"
        )
    if weight.is_meta:
        raise ValueError(
            f"{named(name)} has a weight on the meta device, which holds no values: load the "
            "model's weights first"
        )


def _become(layer: Any, kind: Callable[..., Any]) -> Any:
    layer.__class__ = kind
    return layer


def _prepared(entry: Prepared) -> Any:
    if not isinstance(entry.layer, PREPARED):
        raise ValueError(
            f"layer {entry.name!r} is no longer a prepared layer but a "
            f"{type(entry.layer).__name__}: it was converted or undone"
        )
    return entry.layer
