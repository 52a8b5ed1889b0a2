"""How much quantization changed, and what a conversion really did."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fp8_qat.numerics.errors import check_tensor


def sqnr(signal: Float[Tensor, "*shape"], approximation: Float[Tensor, "*shape"]) -> float:
    """Give the signal-to-quantization-noise ratio, 20 log10(|a| / |a - b|), in dB.

    It is computed in float64; infinite for equal tensors, NaN where one holds NaN.
    Raises ValueError for tensors of different shapes or devices.
    """
    check_tensor("signal", signal)
    check_tensor("approximation", approximation)
    if signal.shape != approximation.shape:
        raise ValueError(
            f"shape={tuple(approximation.shape)}; it must be the signal's {tuple(signal.shape)}: "
            "give two versions of one tensor"
        )
    if signal.device != approximation.device:
        raise ValueError(
            f"approximation=tensor on {approximation.device}; it must be on {signal.device}, as "
            "the signal is: move one to the other"
        )
    a, b = signal.detach().double(), approximation.detach().double()
    noise = torch.linalg.vector_norm(a - b)
    if noise == 0:
        return float("inf")
    return float(20 * torch.log10(torch.linalg.vector_norm(a) / noise))


def finite(value: Any) -> Any:
    """Put None for every float in nested dicts and sequences that JSON cannot express."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, kw_only=True)
class ConvertedLayer:
    """What became of one layer.

    - `shape`: (n outputs, k inputs).
    - `weight_sqnr_db`: quantized against original weight; NaN where the original is not at hand.
    - `output_sqnr_db`: of the layer's output against high precision, where data was given and
      the original weight was at hand.
    - `bytes_before`, `bytes_after`: of the weight in high precision; of codes, scales and whatever
      the backend holds besides.
    """

    name: str
    backend: str
    shape: tuple[int, int]
    weight_sqnr_db: float
    output_sqnr_db: float | None = None
    bytes_before: int
    bytes_after: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredParameter:
    """One parameter that is kept as FP8 and multiplied back at every use.

    - `sqnr_db`: of the kept against the original values; NaN where these are not at hand.
    - `bytes_before`, `bytes_after`: in high precision; of codes and scales.
    """

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `convert` did, layer by layer.

    - `why`: why this backend was chosen.
    - `left`: names of the linear layers that stay in high precision, as they were not prepared.
    - `stored`: other parameters that are kept as FP8, as `store` was asked to.
    """

    backend: str
    recipe: str
    layers: tuple[ConvertedLayer, ...]
    why: str = ""
    left: tuple[str, ...] = ()
    stored: tuple[StoredParameter, ...] = ()

    @property
    def bytes_saved(self) -> int:
        """Memory that the weights need less, in bytes."""
        layers = sum(layer.bytes_before - layer.bytes_after for layer in self.layers)
        return layers + sum(one.bytes_before - one.bytes_after for one in self.stored)

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, for JSON; what is not finite becomes None."""
        plain: dict[str, object] = finite(asdict(self))
        return plain | {"bytes_saved": self.bytes_saved}

    def __str__(self) -> str:
        head = (
            f"{len(self.layers)} layers on backend {self.backend}, recipe {self.recipe}, "
            f"{self.bytes_saved} bytes saved"
        )
        left = f"{len(self.left)} linear layers stay in high precision"
        names = [f"  {name}" for name in self.left]
        why = [f"because {self.why}"] if self.why else []
        stored = [
            f"  {one.name}  {' x '.join(map(str, one.shape))}  stored  "
            f"{one.bytes_before} -> {one.bytes_after} bytes"
            for one in self.stored
        ]
        return "\n".join([head, *why, *map(_line, self.layers), *stored, left, *names])


def _line(layer: ConvertedLayer) -> str:
    output = layer.output_sqnr_db
    parts = [
        f"  {layer.name or '(the model)'}",
        f"{layer.shape[0]} x {layer.shape[1]}",
        layer.backend,
        "" if math.isnan(layer.weight_sqnr_db) else f"weight {layer.weight_sqnr_db:.1f} dB",
        f"output {output:.1f} dB" if output is not None else "",
        f"{layer.bytes_before} -> {layer.bytes_after} bytes",
        layer.note,
    ]
    return "  ".join(part for part in parts if part)
