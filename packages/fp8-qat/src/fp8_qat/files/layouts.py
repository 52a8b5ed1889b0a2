"""How FP8 layers are named and shaped in a checkpoint file.

| layout | scales of a weight, which multiply back | scale of a static activation |
|---|---|---|
| plain | `weight_scale`, (block rows, block columns) | `input_scale` (1, 1) |
| compressed-tensors | `weight_scale`, (n, 1), (1,) or blocks | `input_scale` (1,) |
| deepseek | `weight_scale_inv`, (n / 128, k / 128) rounded up | none |

Scales are float32. In all layouts `weight` is FP8 (n, k), and every other tensor of the
model stands under its own name.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.spec import Recipe, Spec


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names one layout gives to a layer's tensors, and whether a tensor's scale is flat."""

    name: str
    weight_scale: str
    flat: bool

    def to_file(self, key: str, tensor: Tensor, recipe: Recipe) -> tuple[str, Tensor]:
        """Name and shape one entry of a deployed layer's state dict as the layout does."""
        if key == "weight_scale":
            return self.weight_scale, self._shaped(tensor, recipe.weight)
        if key == "input_quantizer.scale" and recipe.activation is not None:
            return "input_scale", self._shaped(tensor, recipe.activation)
        return key, tensor

    def from_file(self, key: str, tensor: Tensor) -> tuple[str, Tensor]:
        """Undo `to_file`."""
        if key == self.weight_scale:
            return "weight_scale", self._unshaped(tensor)
        if key == "input_scale":
            return "input_quantizer.scale", self._unshaped(tensor)
        return key, tensor

    def _shaped(self, scale: Tensor, spec: Spec) -> Tensor:
        return scale.reshape(1) if self.flat and spec.granularity == "tensor" else scale

    def _unshaped(self, scale: Tensor) -> Tensor:
        return scale.reshape(1, 1) if self.flat and scale.numel() == 1 else scale


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(name="plain", weight_scale="weight_scale", flat=False),
        Layout(name="compressed-tensors", weight_scale="weight_scale", flat=True),
        Layout(name="deepseek", weight_scale="weight_scale_inv", flat=False),
    )
}


def layout_named(name: str) -> Layout:
    """Give a layout by name; ValueError lists the known ones."""
    check_choice("layout", name, LAYOUTS)
    return LAYOUTS[name]


def quantization_config(recipe: Recipe, layout: str, ignored: list[str]) -> dict[str, Any]:
    """Give what a `config.json` says under `quantization_config` for a layout.

    - `ignored`: names of linear layers that stay in high precision.
    Raises ValueError for a recipe that the layout cannot express.
    """
    if layout == "plain":
        return {}
    if layout == "deepseek":
        return _deepseek(recipe)
    weights, activations = recipe.weight, recipe.activation
    group = {
        "targets": ["Linear"],
        "weights": _arguments(recipe, weights.once(), dynamic=False),
        "input_activations": None
        if activations is None
        else _arguments(recipe, activations, dynamic=activations.mode == "dynamic"),
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ignored,
    }


def _deepseek(recipe: Recipe) -> dict[str, Any]:
    shapes = recipe.weight.granularity, recipe.activation and recipe.activation.granularity
    if shapes != ((128, 128), (1, 128)) or recipe.weight.format != "e4m3":
        raise ValueError(
            f"recipe={recipe.name!r}; for layout 'deepseek' it must have E4M3 weights in blocks of "
            "128 x 128 and activations of 1 x 128: use layout 'plain', or prepare with "
            "recipes.deepseek_block()"
        )
    return {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    }


def _arguments(recipe: Recipe, spec: Spec, *, dynamic: bool) -> dict[str, Any]:
    """The compressed-tensors arguments of one operand."""
    found: dict[str, Any] = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": dynamic}
    known = spec.format == "e4m3" and spec.mode != "delayed"
    if known and spec.granularity == "tensor":
        return found | {"strategy": "tensor"}
    if known and spec.granularity == "row":
        return found | {"strategy": "token" if dynamic else "channel"}
    if known and spec.granularity == (1, 128) and dynamic:
        return found | {"strategy": "group", "group_size": 128}
    if known and spec.granularity == (128, 128) and not dynamic:
        return found | {"strategy": "block", "block_structure": [128, 128]}
    raise ValueError(
        f"recipe={recipe.name!r}; for layout 'compressed-tensors' it must be E4M3 in a shape that "
        f"this knows, and cannot be {spec.format}, {spec.granularity}, {spec.mode}: use layout "
        "'plain'"
    )
