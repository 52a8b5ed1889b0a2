"""W8A8 with PyTorch's scaled matrix product: FP8 codes go into the tensor cores."""

from collections.abc import Iterator
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import ScalingType

from fp8_qat.backends.codes import CodesLinear
from fp8_qat.fused.op import quantize_activation
from fp8_qat.numerics.quantize import QuantizedTensor
from fp8_qat.numerics.spec import Recipe, Spec

PRODUCT = "aten::_scaled_mm_v2"  # behind `torch.nn.functional.scaled_mm`
MULTIPLE = 16  # CUDA: both axes of the weight must be multiples of 16


class Producer(Protocol):
    """What a fused layer does to its input before it multiplies."""

    def __call__(self, x: Float[Tensor, "*lead k"], spec: Spec) -> QuantizedTensor: ...

    def parameters(self) -> Iterator[Tensor]:
        """Give what it learns with."""


class ScaledMMLinear(CodesLinear):
    """Quantizes the input and multiplies FP8 codes, one scale per tensor or per row.

    The codes are multiplied exactly and summed in float32; the result is that of the
    reference but for the order of summation and the rounding of multiplied-back values.
    A weight whose axes are no multiples of 16 is held a second time, filled with zeros.
    """

    backend: ClassVar[str] = "scaled_mm"
    agrees_db: ClassVar[float] = 45.0
    fast: ClassVar[bool] = False
    filled: Tensor | None
    producer: Producer | None = None  # set by `fuse`

    @classmethod
    def problems(cls, layer: nn.Linear, recipe: Recipe, device: torch.device) -> list[str]:
        return [*_recipe_problems(recipe), *_device_problems(device)]

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        n, k = layer.out_features, layer.in_features
        odd = n % MULTIPLE or k % MULTIPLE
        filled = f"filled to {n + -n % MULTIPLE} x {k + -k % MULTIPLE}, multiples of {MULTIPLE}"
        notes = [filled if odd else "", "summed in the shorter accumulator" if cls.fast else ""]
        return "; ".join(note for note in notes if note)

    def derive(self) -> None:
        missing = (0, -self.in_features % MULTIPLE, 0, -self.out_features % MULTIPLE)
        filled = F.pad(self.weight.view(torch.uint8), missing).view(self.weight.dtype)
        self.register_buffer("filled", filled if any(missing) else None, persistent=False)

    def read(self, input: Float[Tensor, "*lead k"], dtype: torch.dtype) -> Float[Tensor, "*lead k"]:
        # What comes before a layer sees its own input as it is, also under autocast.
        return input if self.producer is not None else super().read(input, dtype)

    def product(self, x: Float[Tensor, "m k"], dtype: torch.dtype) -> Float[Tensor, "m n"]:
        return self.multiply(self.quantized_operand(x), dtype)

    def learned(self) -> Iterator[Tensor]:
        yield from super().learned()
        if self.producer is not None:
            yield from self.producer.parameters()

    def gradient_problem(self) -> str | None:
        if self.producer is None:
            return None
        return (
            "fused=True; a layer fused with what comes before it passes no gradient: run under "
            "torch.no_grad(), or do not fuse it"
        )

    def quantized_operand(self, x: Float[Tensor, "*lead k"]) -> QuantizedTensor:
        """Give the codes and scales of an input, in one pass where there is a kernel."""
        assert self.input_quantizer is not None
        if self.producer is not None:
            return self.producer(x, self.input_quantizer.spec)
        if self.input_quantizer.spec.mode == "dynamic":
            return quantize_activation(x, self.input_quantizer.spec)
        return self.input_quantizer.quantize(x)

    def multiply(self, x: QuantizedTensor, dtype: torch.dtype) -> Float[Tensor, "m n"]:
        """Multiply codes that were made elsewhere, in a fused kernel for example.

        Raises ValueError for a dtype in which CUDA gives no row-scaled product.
        """
        scale_x, scale_w = x.scale, self.weight_scale.t()
        kind = ScalingType.TensorWise
        codes = x.bytes.reshape(-1, self.in_features)
        if scale_x.numel() > 1 or scale_w.numel() > 1:  # where one is per row, both must be
            kind = ScalingType.RowWise
            _check_row_scaled(self.where, dtype, codes.device)
            scale_x = scale_x.expand(codes.shape[0], 1)
            scale_w = _filled(scale_w.expand(1, self.out_features))
        rounded = dtype != torch.float32  # CUDA takes a bias of the output's dtype, not float32
        inside = self.bias is not None and self.bias.dtype == dtype and rounded
        y = scaled_product(
            _filled(codes).view(x.codes.dtype),
            (self.weight if self.filled is None else self.filled).t(),
            (scale_x.contiguous(), scale_w.contiguous()),
            kind,
            bias=_filled(self.bias) if inside else None,
            dtype=dtype,
            fast=self.fast,
        )[:, : self.out_features]
        return y if self.bias is None or inside else y + self.bias.to(dtype)


def _filled(x: Shaped[Tensor, "*lead k"]) -> Shaped[Tensor, "*lead n"]:
    """Zeros up to a multiple; nothing is launched, or copied, where there is nothing to fill."""
    missing = -x.shape[-1] % MULTIPLE
    return F.pad(x, (0, missing)) if missing else x


def scaled_product(
    x: Shaped[Tensor, "m k"],
    weight: Shaped[Tensor, "k n"],
    scales: tuple[Float32[Tensor, "..."], Float32[Tensor, "..."]],
    kind: ScalingType,
    *,
    bias: Float[Tensor, " n"] | None,
    dtype: torch.dtype,
    fast: bool,
) -> Float[Tensor, "m n"]:
    """What `torch.nn.functional.scaled_mm` calls; PyTorch 2.11 traces this, and not that."""
    (scale_x, scale_w), kinds = scales, [kind.value]
    product: Tensor = torch.ops.aten._scaled_mm_v2(
        *(x, weight, [scale_x], kinds, [], [scale_w], kinds, [], bias, dtype), use_fast_accum=fast
    )
    return product


class FastScaledMMLinear(ScaledMMLinear):
    """Sums in the shorter accumulator of Hopper's tensor cores: faster, and less exact.

    Other devices, CPUs among them, compute the same as `ScaledMMLinear`.
    """

    fast: ClassVar[bool] = True


def scales_rows(recipe: Recipe) -> bool:
    """Whether an operand has a scale for each row, so that CUDA gives the product in bfloat16."""
    specs = (recipe.weight, recipe.activation)
    return any(spec is not None and spec.granularity == "row" for spec in specs)


def _check_row_scaled(where: str, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype != torch.bfloat16:
        raise ValueError(
            f"input of {where}: dtype={dtype}; it must be bfloat16, which alone row-scaled "
            "products give on most CUDA devices: cast the model to bfloat16, run it under "
            "torch.autocast('cuda', torch.bfloat16), or prepare it with recipes.tensorwise()"
        )


def _recipe_problems(recipe: Recipe) -> list[str]:
    if recipe.activation is None:
        return [
            f"recipe={recipe.name!r}; it must quantize activations, and leaves them in high "
            "precision: use backend 'weight_only'"
        ]
    kinds = {recipe.weight.granularity, recipe.activation.granularity}
    if not kinds <= {"tensor", "row"}:
        return [
            f"recipe={recipe.name!r}; it must scale tensors or rows, as this product does, and "
            "scales blocks: use backend 'reference', or prepare with recipes.rowwise()"
        ]
    if recipe.weight.format == recipe.activation.format == "e5m2":
        return [
            f"recipe={recipe.name!r}; one operand must be E4M3, as CUDA does not offer the product "
            "of E5M2 with E5M2: use E4M3 for one operand"
        ]
    return []


def _device_problems(device: torch.device) -> list[str]:
    if device.type == "cpu":
        if torch._C._dispatch_has_kernel_for_dispatch_key(PRODUCT, "CPU"):
            return []
        return [
            f"torch={torch.__version__}; it must be newer to have a scaled product on a CPU: use "
            "backend 'reference' or 'weight_only', or a newer PyTorch"
        ]
    if device.type != "cuda":
        return [
            f"device={device}; it must have a scaled product, as CPUs and CUDA devices do: use "
            "backend 'reference' or 'weight_only'"
        ]
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < (8, 9):
        return [
            f"device={torch.cuda.get_device_name(device)} (sm_{major}{minor}); it must be sm_89 or "
            "newer to multiply FP8: use backend 'weight_only'"
        ]
    return []
