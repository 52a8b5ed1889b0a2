"""Deployed models as safetensors files."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fp8_qat.backends import choose
from fp8_qat.convert import deploy, describe, left_over
from fp8_qat.files.checks import check_tensors
from fp8_qat.files.layouts import Layout, layout_named, quantization_config
from fp8_qat.files.tensors import narrowed, unshared
from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import named
from fp8_qat.layers.quantizers import input_quantizer
from fp8_qat.layers.stored import CODES, SCALE, Stored, put, settle, stored_parameters
from fp8_qat.numerics.quantize import HIGH_PRECISION, QuantizedTensor
from fp8_qat.numerics.spec import Recipe, Spec
from fp8_qat.report import Report

_FORMAT = "fp8_qat"


def save_fp8(model: nn.Module, path: str | Path, *, layout: str = "plain") -> None:
    """Write a converted model: every tensor of its state dict, FP8 weights as FP8.

    Parameters in float32 that bfloat16 holds exactly are written as bfloat16; `load_fp8` gives
    them the type of the model again.

    - `layout`: "plain", "compressed-tensors" or "deepseek"; `fp8_qat.files.layouts` has the
      names. The file's metadata holds the recipe of every FP8 layer and, under
      "quantization_config", what other programs expect in a config.json.

    The file is whole, or what was there before stays. Raises ValueError if the model has no
    deployed layer, for an unknown layout, for a recipe that the layout cannot express, and for
    extra state that is no tensor; OSError where the disk refuses.
    """
    shape = layout_named(layout)
    modules = dict(model.named_modules(remove_duplicate=False))  # a shared layer has two names
    layers = {name: m for name, m in modules.items() if isinstance(m, Fp8Linear)}
    if not layers:
        raise ValueError(
            "FP8 layers=0; the model must hold some to save: call convert(model) first"
        )
    plain = [n for n, m in modules.items() if isinstance(m, nn.Linear) and n not in layers]
    configs = [quantization_config(x.recipe, layout, plain) for x in layers.values()]
    recipes = {name: asdict(layer.recipe) for name, layer in layers.items()}
    metadata = {
        "format": _FORMAT,
        "layout": layout,
        "recipes": json.dumps(recipes),
        "quantization_config": json.dumps(configs[0]),
        "stored": json.dumps({n: asdict(m.stored[own]) for n, m, own in stored_parameters(model)}),
    }
    tensors = {}
    for key, tensor in model.state_dict().items():
        _check_saved(key, tensor)
        prefix, inner = _split(key, layers)
        if prefix is not None:
            recipe = layers[prefix.removesuffix(".")].recipe
            inner, tensor = shape.to_file(inner, tensor, recipe)
        tensors[f"{prefix}{inner}" if prefix else inner] = tensor
    for key in {n for n, _ in model.named_parameters(remove_duplicate=False)} & tensors.keys():
        tensors[key] = narrowed(tensors[key])
    _write(Path(path), unshared(tensors), metadata)


@torch.inference_mode(False)  # as in `convert`
def load_fp8(
    model: nn.Module,
    path: str | Path,
    *,
    backend: str = "auto",
    fast: bool = False,
    product: torch.dtype | None = None,
    recipe: Recipe | None = None,
    layout: str | None = None,
) -> Report:
    """Read FP8 weights into a high-precision model of the same shape.

    The linear layers that the file holds in FP8 become deployed layers on `backend`, which,
    like `fast` and `product`, is what `convert` takes. The report names them, and under `left`
    the linear layers that the file holds in high precision; `weight_sqnr_db` is NaN, as the
    original weights are not at hand.

    - `recipe`, `layout`: for files of other programs, whose metadata names neither. Every layer
      with an FP8 weight then follows that recipe.

    Raises ValueError, before anything changes, for a file that cannot be read, one that names no
    recipe where none is given or that holds no FP8 weight of it, a layer that the model lacks or
    that is no plain `nn.Linear`, missing or extra tensors (scales among them), other shapes or
    dtypes, scales that are not positive numbers, a model on the meta device or of a dtype that is
    not multiplied with, and a layer that the backend cannot run.
    """
    tensors, recipes, stored = _read(path, recipe, layout)
    layers = {name: _linear(model, name, path) for name in recipes}
    check_tensors(model, recipes, stored, tensors, path)
    followed = {name: (layers[name], recipes[name]) for name in recipes}
    chosen = choose(backend, followed, fast=fast, product=product)
    for name in recipes:
        _deploy(layers[name], name, recipes[name], tensors, chosen.kind)
    for full, spec in stored.items():
        _keep(model, full, spec, tensors)
    model.load_state_dict(tensors)
    done = tuple(describe(name, layers[name]) for name in recipes)
    used = ", ".join(dict.fromkeys(recipe.name for recipe in recipes.values()))
    return Report(
        backend=chosen.kind.backend,
        why=chosen.why,
        recipe=used,
        layers=done,
        left=left_over(model),
        stored=settle(model),
    )


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file beside and rename it, as safetensors itself does not in all versions.

    Each writer has its own beside: several processes may write one file. A link stays.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        beside.touch(exist_ok=False)
        mode = beside.stat().st_mode  # as the umask leaves it: safetensors writes for one alone
        save_file(tensors, str(beside), metadata=metadata)
        beside.chmod(mode)
        os.replace(beside, path)
    except SafetensorError as error:
        raise OSError(
            f"path={path}; it cannot be written ({error}): make room, or give another place"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _split(key: str, layers: Any) -> tuple[str | None, str]:
    """Part a state-dict key into the prefix of its FP8 layer, None for none, and the rest."""
    parts = key.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        name = ".".join(parts[:depth])
        if name in layers:
            return (f"{name}." if name else ""), ".".join(parts[depth:])
    return None, key


def _read(
    path: str | Path, recipe: Recipe | None, layout: str | None
) -> tuple[dict[str, Tensor], dict[str, Recipe], dict[str, Spec]]:
    if not Path(path).is_file():
        raise ValueError(f"path={path}; it is no file, and cannot be read: give another")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            raw = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"path={path}; it cannot be read as a safetensors file ({error}): give another file"
        ) from error
    if metadata.get("format") == _FORMAT:
        recipes, stored, shape = _described(metadata, path)
    elif recipe is None or layout is None:
        raise ValueError(
            f"path={path}; its metadata must name a recipe, and does not: pass recipe= and layout="
        )
    else:
        weights = [k for k, v in raw.items() if v.dtype == recipe.weight.fp8.dtype]
        recipes = {key.rpartition(".")[0]: recipe for key in weights}
        stored, shape = {}, layout_named(layout)
    if not recipes:
        raise ValueError(
            f"path={path}; it must hold an FP8 weight of the recipe's format, and has none: read "
            "what is in high precision with model.load_state_dict, or name the file's own recipe"
        )
    return _from_layout(raw, recipes, shape), recipes, stored


def _described(
    metadata: Mapping[str, str], path: str | Path
) -> tuple[dict[str, Recipe], dict[str, Spec], Layout]:
    """Recipes of layers, specs of stored parameters, and the layout, as our own files name them."""
    try:
        plain = json.loads(metadata["recipes"])
        recipes = {name: _recipe_from_plain(value) for name, value in plain.items()}
        kept = json.loads(metadata.get("stored", "{}"))
        stored = {name: _spec_from_plain(value) for name, value in kept.items()}
        return recipes, stored, layout_named(metadata["layout"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"path={path}; its metadata must describe recipes, and does not ({error}): write the "
            "file anew"
        ) from error


def _from_layout(
    raw: dict[str, Tensor], recipes: dict[str, Recipe], shape: Layout
) -> dict[str, Tensor]:
    tensors = {}
    for key, tensor in raw.items():
        prefix, inner = _split(key, recipes)
        inner, tensor = shape.from_file(inner, tensor) if prefix is not None else (inner, tensor)
        tensors[f"{prefix}{inner}" if prefix else inner] = tensor
    return tensors


def _linear(model: nn.Module, name: str, path: str | Path) -> nn.Linear:
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(
            f"path={path}; it holds an FP8 layer {name!r} that the model lacks: load into a model "
            "of the same layers"
        ) from error
    if type(layer) is not nn.Linear:
        raise ValueError(
            f"{named(name)}: kind={type(layer).__name__}; it must be a plain nn.Linear, as {path} "
            "holds it in FP8: load into the plain model, before prepare"
        )
    if layer.weight.is_meta:
        raise ValueError(
            f"{named(name)}: device=meta; it must be one where values can be loaded: call "
            "model.to_empty(device='cpu') first"
        )
    if layer.weight.dtype not in HIGH_PRECISION:
        raise ValueError(
            f"{named(name)}: dtype={layer.weight.dtype}; it must be float32, bfloat16 or float16, "
            "in which the layer will multiply: cast the model"
        )
    return layer


def _deploy(
    layer: nn.Linear, name: str, recipe: Recipe, tensors: dict[str, Tensor], kind: type[Fp8Linear]
) -> None:
    if isinstance(layer, Fp8Linear):  # shared, and met under its other name
        return
    prefix, weight, where = f"{name}." if name else "", layer.weight.detach(), named(name)
    quantized = QuantizedTensor(
        codes=tensors[f"{prefix}weight"].to(weight.device),
        scale=tensors[f"{prefix}weight_scale"].to(weight.device, torch.float32),
        spec=recipe.weight.once(),
    )
    deploy(
        layer,
        kind,
        quantized,
        recipe=recipe,
        where=where,
        input_quantizer=input_quantizer(recipe, layer, where),
        weight_sqnr_db=float("nan"),  # the original is not at hand
        like=weight.new_empty(0),
    )


def _keep(model: nn.Module, full: str, spec: Spec, tensors: dict[str, Tensor]) -> None:
    """Let a parameter of the model be stored as FP8, as the file holds it."""
    prefix, _, name = full.rpartition(".")
    module = model.get_submodule(prefix)
    if isinstance(module, Stored) and name in module.stored:  # shared, as in `_deploy`
        return
    like = module.get_parameter(name)
    codes, scale = tensors[f"{full}{CODES}"].to(like.device), tensors[f"{full}{SCALE}"]
    rows = rearrange(codes.view(torch.uint8), "n ... -> n (...)").view(codes.dtype)
    scale = scale.to(like.device, torch.float32)
    put(module, name, QuantizedTensor(codes=rows, scale=scale, spec=spec), like)


def _check_saved(key: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(
            f"state_dict()[{key!r}]={type(value).__name__}; it must be a torch.Tensor, as a "
            "safetensors file holds nothing else: let get_extra_state() give one"
        )


def _recipe_from_plain(plain: dict[str, Any]) -> Recipe:
    activation = plain["activation"]
    return Recipe(
        name=plain["name"],
        weight=_spec_from_plain(plain["weight"]),
        activation=None if activation is None else _spec_from_plain(activation),
    )


def _spec_from_plain(plain: dict[str, Any]) -> Spec:
    granularity = plain["granularity"]
    if isinstance(granularity, list):
        granularity = tuple(granularity)
    return Spec(**(plain | {"granularity": granularity}))
