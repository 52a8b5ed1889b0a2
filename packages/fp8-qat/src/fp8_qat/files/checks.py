"""Whether what a file holds fits a model: names, shapes, dtypes, scales."""

from pathlib import Path

import torch
from torch import Tensor, nn

from fp8_qat.layers.inputs import named
from fp8_qat.layers.quantizers import make_quantizer
from fp8_qat.layers.stored import CODES, SCALE
from fp8_qat.numerics.spec import Recipe, Spec


def check_tensors(
    model: nn.Module,
    recipes: dict[str, Recipe],
    stored: dict[str, Spec],
    tensors: dict[str, Tensor],
    path: str | Path,
) -> None:
    """Raise ValueError unless the tensors of a file are those of a model deployed as it says.

    - `recipes`: of the FP8 layers by name; `stored`: of the parameters that are kept as FP8.
    """
    expected = {key: value.shape for key, value in model.state_dict().items()}
    for full, spec in stored.items():
        shape = expected.pop(full, torch.Size((1, 1)))
        matrix = torch.Size((shape[0], shape[1:].numel()))
        expected |= {f"{full}{CODES}": shape, f"{full}{SCALE}": _scale_shape(matrix, spec)}
    for name, recipe in recipes.items():
        prefix = f"{name}." if name else ""
        expected[f"{prefix}weight_scale"] = _scale_shape(expected[f"{prefix}weight"], recipe.weight)
        if recipe.activation is not None:
            for key, value in make_quantizer(recipe.activation).state_dict().items():
                expected[f"{prefix}input_quantizer.{key}"] = value.shape
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    wrong = [k for k in expected.keys() & tensors.keys() if expected[k] != tensors[k].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"path={path}; it must fit the model: missing {sorted(missing)}, extra "
            f"{sorted(extra)}, of another shape {sorted(wrong)}"
        )
    for name, recipe in recipes.items():
        prefix, what = f"{name}." if name else "", named(name)
        dtype = recipe.weight.fp8.dtype
        _check_codes(tensors[f"{prefix}weight"], dtype, f"weight of {what}", path)
        for key in ("weight_scale", "input_quantizer.scale", "input_quantizer.multiplier"):
            if f"{prefix}{key}" in tensors:
                _check_scale(tensors[f"{prefix}{key}"], f"{key} of {what}", path)
    for full, spec in stored.items():
        _check_codes(tensors[f"{full}{CODES}"], spec.fp8.dtype, full, path)
        _check_scale(tensors[f"{full}{SCALE}"], f"{full}{SCALE}", path)


def _check_codes(codes: Tensor, dtype: torch.dtype, what: str, path: str | Path) -> None:
    if codes.dtype != dtype:
        raise ValueError(
            f"{path}: {what}: dtype={codes.dtype}; it must be {dtype}, as its recipe says: name "
            "the recipe that the file was written with"
        )


def _check_scale(scale: Tensor, what: str, path: str | Path) -> None:
    scale = scale.float()
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise ValueError(
            f"{path}: {what}={scale.min().item():g} to {scale.max().item():g}; it must hold "
            "positive numbers: write the file anew, after calibration"
        )


def _scale_shape(shape: torch.Size, spec: Spec) -> torch.Size:
    n, k = shape
    if spec.granularity == "tensor":
        return torch.Size((1, 1))
    if spec.granularity == "row":
        return torch.Size((n, 1))
    assert not isinstance(spec.granularity, str)
    r, c = spec.granularity
    return torch.Size((-(-n // r), -(-k // c)))
