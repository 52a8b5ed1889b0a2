"""Which backend runs a set of layers, and why it does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fp8_qat.backends.scaled_mm import FastScaledMMLinear, ScaledMMLinear, scales_rows
from fp8_qat.backends.te import TransformerEngineLinear
from fp8_qat.backends.torchao import TorchaoLinear
from fp8_qat.backends.weight_only import Bfloat16WeightOnlyLinear, WeightOnlyLinear
from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.linear import QuantizedLinear
from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.spec import Recipe

LAYERS: dict[str, type[Fp8Linear]] = {
    kind.backend: kind
    for kind in (
        Fp8Linear,
        ScaledMMLinear,
        WeightOnlyLinear,
        TorchaoLinear,
        TransformerEngineLinear,
    )
}
FIRST_FP8 = (8, 9)  # compute capability from which GPUs multiply FP8
FIRST_BFLOAT16 = (8, 0)  # and bfloat16
Layers = Mapping[str, tuple[nn.Linear, Recipe]]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A backend's layer class, and why it was chosen."""

    kind: type[Fp8Linear]
    why: str


def choose(
    backend: str, layers: Layers, *, fast: bool = False, product: torch.dtype | None = None
) -> Chosen:
    """Give a backend that can run all layers.

    "auto" is "scaled_mm" where every layer is on a device that multiplies FP8, follows a recipe
    which that product covers and computes in a dtype which it gives, and "weight_only" everywhere
    else: to emulate an FP8 product costs more than a product in high precision.

    - `layers`: by name, prepared or plain layers with the recipe that each follows.
    - `fast`: sum in a shorter accumulator, which "scaled_mm" alone offers.
    - `product`: `torch.bfloat16` for "weight_only" to multiply in; None is the model's dtype
      if "weight_only" is asked for by name, and the faster one that is safe if "auto" is.

    Raises ValueError for an unknown backend, which lists the known ones, for `fast` or
    `product` with another backend, and naming every layer that the backend cannot run, and
    why.
    """
    check_choice("backend", backend, ("auto", *LAYERS))
    why = "asked for by name"
    if backend == "auto":
        backend, why = _fastest(layers)
        if backend == "weight_only" and product is None and _bfloat16_pays(layers):
            product = torch.bfloat16
            why += ", multiplied in bfloat16, for which this CPU has instructions"
    kind = LAYERS[backend]
    problems = _problems(kind, layers)
    if problems:
        raise ValueError(
            f"backend={backend!r}; it must run every layer, and cannot run these, so nothing was "
            "changed: use another, or prepare otherwise\n" + "\n".join(problems)
        )
    return Chosen(kind=_variant(backend, kind, fast, product), why=why)


def _variant(
    backend: str, kind: type[Fp8Linear], fast: bool, product: torch.dtype | None
) -> type[Fp8Linear]:
    if fast and kind is not ScaledMMLinear:
        raise ValueError(
            f"fast={fast}; it must be False on backend {backend!r}, whose sums are of one kind: "
            "use backend 'scaled_mm', or leave fast out"
        )
    if product is not None and kind is not WeightOnlyLinear:
        raise ValueError(
            f"product={product}; it must be None on backend {backend!r}, which follows the model: "
            "use backend 'weight_only', or leave product out"
        )
    if product not in (None, torch.bfloat16):
        raise ValueError(
            f"product={product}; it must be torch.bfloat16, or None for the model's dtype: cast "
            "the model for another"
        )
    if fast:
        return FastScaledMMLinear
    return kind if product is None else Bfloat16WeightOnlyLinear


def _fastest(layers: Layers) -> tuple[str, str]:
    """Name the fastest backend that emulates nothing, and say why."""
    found = {_device(layer).type for layer, _ in layers.values()}
    if found != {"cuda"}:
        listed = ", ".join(sorted(found))
        return "weight_only", f"{listed} multiplies no FP8: weights stay FP8"
    for problem in (*_problems(ScaledMMLinear, layers), *_dtype_problems(layers)):
        return "weight_only", f"{problem}; weights stay FP8"
    return "scaled_mm", "every layer is on a CUDA device that multiplies FP8"


def _dtype_problems(layers: Layers) -> Iterator[str]:
    """Name layers on CUDA with row scales that compute now, or under autocast, in another dtype."""
    for name, (layer, recipe) in layers.items():
        dtype = _dtype(layer)
        if scales_rows(recipe) and dtype != torch.bfloat16:
            yield (
                f"{name or '(the model)'}: dtype={dtype}; it must be bfloat16 for a row-scaled "
                "product, in the model or by torch.autocast around this call"
            )


def _dtype(layer: nn.Linear) -> torch.dtype:
    if torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return layer.weight_dtype if isinstance(layer, QuantizedLinear) else layer.weight.dtype


def _bfloat16_pays(layers: Layers) -> bool:
    """Whether bfloat16 is faster, and finer than the rounding that training was used to."""
    devices = {_device(layer).type for layer, _ in layers.values()}
    rounded = all(recipe.activation is not None for _, recipe in layers.values())
    return devices == {"cpu"} and rounded and cpu_multiplies_bfloat16()


def cpu_multiplies_bfloat16() -> bool:
    """Tell whether this CPU has instructions for products of bfloat16."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    known = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
    return any(bool(capabilities.get(name)) for name in known) or bool(
        torch.cpu._is_avx512_bf16_supported()
    )


def multiplies_fp8(device: torch.device) -> bool:
    """Whether a device has products of FP8 numbers."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_FP8


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16."""
    if device.type == "cpu":
        return cpu_multiplies_bfloat16()
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_BFLOAT16


def _device(layer: nn.Linear) -> torch.device:
    return layer.device if isinstance(layer, QuantizedLinear) else layer.weight.device


def _problems(kind: type[Fp8Linear], layers: Layers) -> list[str]:
    return [
        f"{name or '(the model)'}: {problem}"
        for name, (layer, recipe) in layers.items()
        for problem in kind.problems(layer, recipe, _device(layer))
    ]
