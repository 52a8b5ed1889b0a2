"""Linear layers that compute in training what they will compute when deployed.

`prepare` turns an `nn.Linear` into one of these in place: the same object, the same
parameters, the same names in its state dict. `fp8_qat.layers.states` has the table.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.inputs import layer_input
from fp8_qat.layers.quantizers import Quantizer, keep_dtype
from fp8_qat.layers.unchanged import digest, whole, writes_to
from fp8_qat.numerics.quantize import QuantizedTensor, dequantize, quantize
from fp8_qat.numerics.spec import Recipe, Spec


class QuantizedLinear(nn.Linear):
    """What all layers have in common that are prepared for FP8 or deployed in it.

    - `recipe`: how weight and input are quantized.
    - `where`: the layer's name, as errors say it.
    - `input_quantizer`: None where the recipe leaves activations in high precision.
    - `weight_sqnr_db`: of the quantized against the original weight; NaN where unknown.
    """

    recipe: Recipe
    where: str
    input_quantizer: Quantizer | None
    weight_sqnr_db: float

    @property
    def weight_dtype(self) -> torch.dtype:
        """The dtype of the weight that the layer multiplies with."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the layer computes."""
        return self.weight.device

    def quantized_weight(self) -> QuantizedTensor:
        """Give the codes and scales of the weight."""
        raise NotImplementedError

    def dequantized_weight(self) -> Float[Tensor, "n k"]:
        """Multiply the weight's codes back, anew at every call, in the dtype of the product."""
        return dequantize(self.quantized_weight(), self.weight_dtype)

    def quantized_input(self, x: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead k"]:
        """Check an input and give the values that its quantization leaves."""
        x = layer_input(self, x)
        return x if self.input_quantizer is None else self.input_quantizer(x)


class QuantLinear(QuantizedLinear):
    """A linear layer whose weight and input are quantized and multiplied back in every forward.

    - `enabled`: False computes the plain layer.
    """

    weight_quantizer: Quantizer
    enabled: bool

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        if not self.enabled:
            return F.linear(input, self.weight, self.bias)
        x = self.quantized_input(input)
        return F.linear(x, self.weight_quantizer(self.weight), self.bias)

    def quantized_weight(self) -> QuantizedTensor:
        """Give the codes and scales of the weight as the next forward would use them."""
        return self.weight_quantizer.quantize(self.weight.detach())


class FrozenLinear(QuantizedLinear):
    """A linear layer whose weight is not trained and was quantized once.

    The bytes and scales are kept; backward multiplies them back again instead of saving a
    second weight, and computes no weight gradient. The original weight stays beside them.

    - `weight_bytes` (n, k) and `weight_scale`: buffers outside the state dict.
    - `made_from`: a digest of the weight that they were made from, and of them.
    - `seen`: how many writes to the weight were counted when that was last looked at.
    """

    enabled: bool
    weight_bytes: Tensor
    weight_scale: Tensor
    made_from: bytes
    seen: int

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        if not self.enabled:
            return F.linear(input, self.weight, self.bias)
        self.check_frozen()
        self._check_written()
        x = self.quantized_input(input)
        spec = self.recipe.weight.once()
        y: Tensor = _FrozenLinear.apply(  # type: ignore[no-untyped-call]
            x, self.bias, self.weight_bytes, self.weight_scale, spec, self.weight_dtype
        )
        return y

    def quantized_weight(self) -> QuantizedTensor:
        """Give the codes and scales that were made from the weight."""
        spec = self.recipe.weight.once()
        codes = self.weight_bytes.view(spec.fp8.dtype)
        return QuantizedTensor(codes=codes, scale=self.weight_scale, spec=spec)

    def check_frozen(self) -> None:
        """Raise ValueError if the weight trains or is made anew: codes would not follow."""
        weight = self._parameters.get("weight")
        if weight is None and not isinstance(self, ReleasedLinear):
            raise ValueError(
                f"weight of {self.where}: kind={type(self).__name__}; it was quantized once, and "
                "must not be made anew, as pruning or a parametrization does: make it permanent or "
                "remove it, undo() the handle and prepare the model again, with frozen='none' if "
                "this is to train"
            )
        if weight is not None and weight.requires_grad:
            raise ValueError(
                f"weight of {self.where}: requires_grad=True; it was quantized once, as it did not "
                "train when it was prepared, and must not now: freeze it, or undo() the handle and "
                "prepare the model with weights that train"
            )

    def check_unchanged(self) -> None:
        """Raise ValueError if the weight was overwritten, which the codes do not know of."""
        held = "weight" in self._parameters and not isinstance(self, ReleasedLinear)
        if held and not self._made_from(self.weight):
            raise ValueError(
                f"weight of {self.where}: changed=True; it was quantized once, and must hold what "
                "it held then: load_state_dict(state_dict()) quantizes what it holds now, or put "
                "back what it was"
            )

    def _check_written(self) -> None:
        """Look at the weight where a write was counted; `convert` sees those to `weight.data` too.

        Compiled code does not look.
        """
        weight = self._parameters.get("weight")
        if weight is None or torch.compiler.is_compiling() or writes_to(weight) == self.seen:
            return
        self.check_unchanged()
        self.seen = writes_to(weight)

    def quantize_again(self, weight: Float[Tensor, "n k"]) -> None:
        """Replace the bytes and scales by those of another weight."""
        with torch.inference_mode(False):  # else nothing could be trained with them
            quantized = quantize(weight, self.recipe.weight.once())
            self.weight_bytes, self.weight_scale = quantized.bytes, quantized.scale

    @property
    def device(self) -> torch.device:
        return self.weight_bytes.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrozenLinear":
        before = {"weight_bytes": self.weight_bytes, "weight_scale": self.weight_scale}
        held = self._parameters.get("weight")
        old = None if held is None else held.detach()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        keep_dtype(self, before)
        if old is not None and old.dtype != self.weight_dtype and self._made_from(old):
            self.made_from = self._digest(self.weight)  # of the same numbers, rounded
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        # A module that shares the weight may have loaded it before; codes are lost on "meta".
        if not self._made_from(self.weight):  # or its codes, perhaps fitted, stay
            self.quantize_again(whole(self.weight))
            self.made_from = self._digest(self.weight)
        self.seen = writes_to(self.weight)

    def _made_from(self, weight: Tensor) -> bool:
        """Whether the codes that are held were made from this weight."""
        return self._digest(weight) == self.made_from

    def _digest(self, weight: Tensor) -> bytes:
        return digest(whole(weight), self.weight_bytes, self.weight_scale)


class ReleasedLinear(FrozenLinear):
    """A frozen layer that gave its original weight up: one byte a value is all it holds.

    It has no `weight`; `dequantized_weight()` makes one. Its state dict still names
    `weight`, with the values multiplied back.
    """

    like: Tensor

    @property
    def weight_dtype(self) -> torch.dtype:
        return self.like.dtype

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                f"{self.where}: weight=released; only its FP8 bytes are held: call "
                "dequantized_weight(), or prepare the model with frozen='keep'"
            )
        return super().__getattr__(name)

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        if not self.enabled:
            raise ValueError(
                f"{self.where}: enabled=False; its original weight was released, so it must be "
                "enabled: prepare the model with frozen='keep' to compare with the plain layer"
            )
        return super().forward(input)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        destination[prefix + "weight"] = self.dequantized_weight()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        rest = dict(state_dict)
        weight = rest.pop(prefix + "weight", None)
        nn.Linear._load_from_state_dict(self, rest, prefix, *args, **kwargs)
        metadata, _, missing, _, errors = args
        if weight is None:
            missing.append(prefix + "weight")
        elif weight.shape != self.weight_bytes.shape:
            errors.append(
                f"size mismatch for {prefix}weight: copying a param with shape {weight.shape} "
                f"from checkpoint, the shape in current model is {self.weight_bytes.shape}."
            )
        else:
            if metadata.get("assign_to_params_buffers"):
                self.like = weight.new_empty(0)
            if not _same(weight.to(self.like), self.dequantized_weight()):
                self.quantize_again(weight.to(self.like))  # values that were saved from here stay


def _same(one: Tensor, other: Tensor) -> bool:
    alike = one.device == other.device and one.dtype == other.dtype and not one.is_meta
    return alike and torch.equal(one, other)


PREPARED = (QuantLinear, FrozenLinear)


class _FrozenLinear(torch.autograd.Function):
    """Multiply with a weight that is made twice, in forward and backward, and never saved."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        codes: Tensor,
        scale: Tensor,
        spec: Spec,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(codes, scale)
        ctx.spec, ctx.bias_dtype = spec, None if bias is None else bias.dtype
        return F.linear(x, _weight(codes, scale, spec, dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            codes, scale = ctx.saved_tensors
            grad_x = grad @ _weight(codes, scale, ctx.spec, grad.dtype)
        if ctx.needs_input_grad[1]:
            grad_bias = grad.reshape(-1, grad.shape[-1]).sum(0).to(ctx.bias_dtype)
        return grad_x, grad_bias, None, None, None, None


def _weight(codes: Tensor, scale: Tensor, spec: Spec, dtype: torch.dtype) -> Tensor:
    quantized = QuantizedTensor(codes=codes.view(spec.fp8.dtype), scale=scale, spec=spec)
    return dequantize(quantized, dtype)
