"""Where the scale of a tensor comes from: itself, past steps, or calibration.

A quantizer belongs to one operand of one layer. Its state, if any, is ordinary buffers,
kept in float32 whatever dtype the model is cast to.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fp8_qat.numerics.fake import fake_quantize
from fp8_qat.numerics.quantize import HIGH_PRECISION, QuantizedTensor, quantize
from fp8_qat.numerics.scales import Scale, scale_of
from fp8_qat.numerics.spec import Recipe, Spec

_FLOAT32_MAX = torch.finfo(torch.float32).max


@torch.library.custom_op("fp8_qat::as_it_was", mutates_args=())
def as_it_was(x: Tensor) -> Tensor:
    """Copy what a forward overwrites, for its backward.

    An operator, since a compiler makes copies anew in the backward pass, from what stands there
    then.
    """
    return x.clone()


@as_it_was.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Quantizer(nn.Module):
    """A dynamic quantizer, and the interface of the others: no state, no parameters."""

    def __init__(self, spec: Spec, where: str = "a tensor") -> None:
        super().__init__()
        self.spec, self.where = spec, where
        self.updating = True  # False once scales are frozen
        self.watching: Callable[[Tensor], None] | None = None  # set while calibrating

    def forward(self, x: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead k"]:
        """Give the values that quantization leaves; state moves on while training.

        While `watching` is set, tensors are handed to it and pass unchanged.
        """
        if x.dtype not in HIGH_PRECISION:
            raise ValueError(
                f"{self.where}: dtype={x.dtype}; it must be float32, bfloat16 or float16: cast it"
            )
        if self.watching is not None:
            if x.numel():
                self.watching(x.detach())
            return x
        values = fake_quantize(x, self.spec, scale=self.current_scale())
        if self.moves():
            self.observe(x.detach())
        return values

    def moves(self) -> bool:
        """Whether a forward is a step now, after which scales may be others."""
        return self.updating and self.training and torch.is_grad_enabled()

    def quantize(self, x: Float[Tensor, "*lead k"]) -> QuantizedTensor:
        """Give the codes and scales of `x`; state stays as it is."""
        return quantize(x, self.spec, scale=self.current_scale())

    def current_scale(self) -> Scale | None:
        """The scale to use now; None means that of the tensor itself."""
        return None

    def observe(self, x: Float[Tensor, "*lead k"]) -> None:
        """Take note of a tensor that passed in a training step."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Quantizer":
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        keep_dtype(self, before)
        return self

    def extra_repr(self) -> str:
        return f"{self.spec.format}, {self.spec.granularity}, {self.spec.rule}, {self.spec.mode}"


class DelayedQuantizer(Quantizer):
    """Scales from the largest magnitudes of past steps, as Transformer Engine keeps them.

    A step is one forward in training mode with gradients enabled. Activation
    checkpointing runs a forward twice and would count two steps.

    Buffers: `amax_history` (history,) whose first place is the running step, and
    `multiplier` (1, 1), 1 at the start.
    """

    amax_history: Tensor
    multiplier: Tensor

    def __init__(self, spec: Spec, where: str, device: torch.device | None = None) -> None:
        super().__init__(spec, where)
        kind: dict[str, Any] = {"dtype": torch.float32, "device": device}
        self.register_buffer("amax_history", torch.zeros(spec.history, **kind))
        self.register_buffer("multiplier", torch.ones(1, 1, **kind))

    def current_scale(self) -> Scale:
        multiplier = self.multiplier
        if self.moves() and torch.compiler.is_compiling():
            multiplier = as_it_was(multiplier)
        return Scale(multiplier, 1.0 / multiplier)

    def observe(self, x: Float[Tensor, "*lead k"]) -> None:
        """Record the largest magnitude of `x`, then make the multiplier of the next step."""
        if x.numel():
            self.set_amax(x.abs().amax().float())

    @torch.no_grad()
    def set_amax(self, amax: Float[Tensor, ""]) -> None:
        """Move one step on; an amax of 0 means that the layer did not run, and changes nothing.

        So does NaN, which would hold the scale for as long as it stood in the history.
        """
        spec, history = self.spec, self.amax_history.clone()
        amax = torch.where(torch.isnan(amax), 0.0, amax)
        history[0] = amax
        largest = history[0] if spec.algorithm == "most_recent" else history.amax()
        fmax = torch.full_like(largest, spec.fp8.max)
        multiplier = (fmax / largest) / 2.0**spec.margin
        multiplier = torch.where(torch.isinf(multiplier), _FLOAT32_MAX, multiplier)
        usable = torch.isfinite(largest) & (largest > 0) & (amax != 0)
        self.multiplier.copy_(torch.where(usable, multiplier, self.multiplier))
        rolled = torch.roll(history, -1)
        rolled[0] = 0.0
        self.amax_history.copy_(torch.where(amax != 0, rolled, history))


class StaticQuantizer(Quantizer):
    """One calibrated scale. Buffer: `scale` (1, 1), NaN until calibrated or loaded."""

    scale: Tensor

    def __init__(self, spec: Spec, where: str, device: torch.device | None = None) -> None:
        super().__init__(spec, where)
        self.known = False  # that the scale is set, so that later forwards need not ask
        unknown = torch.full((1, 1), torch.nan, dtype=torch.float32, device=device)
        self.register_buffer("scale", unknown)

    def current_scale(self) -> Scale:
        if not self.known and not torch.compiler.is_compiling():  # else compilation ends here
            self.look()
        if not self.known:
            raise ValueError(
                f"{self.where}: static scale=nan; it must be calibrated before the first "
                "forward: run fp8_qat.calibrate(model, batches)"
            )
        return Scale(None, self.scale)

    def look(self) -> None:
        """Find out whether the scale is set."""
        self.known = not (self.scale.is_meta or bool(torch.isnan(self.scale)))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.look()

    @torch.no_grad()
    def set_amax(self, amax: Float[Tensor, ""]) -> None:
        """Cover magnitudes up to `amax` from now on."""
        found = scale_of(amax.float(), self.spec.rule, self.spec.fp8, torch.float32)
        self.scale.copy_(found.scale)
        self.look()


def keep_dtype(module: nn.Module, before: dict[str, Tensor]) -> None:
    """After a cast of the model, give back their dtype to the buffers that `before` holds."""
    for name, old in before.items():
        new = getattr(module, name)
        if new.dtype != old.dtype:
            setattr(module, name, old.to(new.device))


def input_quantizer(recipe: Recipe, layer: nn.Linear, where: str) -> Quantizer | None:
    """Make the quantizer of a layer's input, None where the recipe has none.

    - `where`: the layer's name, as errors say it.
    """
    if recipe.activation is None:
        return None
    device = layer.weight.device
    made = make_quantizer(recipe.activation, where=f"input of {where}", device=device)
    return made.train(layer.training)


def make_quantizer(
    spec: Spec, *, where: str = "a tensor", device: torch.device | None = None
) -> Quantizer:
    """Make the quantizer for the spec's mode, its state on `device`; errors say `where`."""
    if spec.mode == "delayed":
        return DelayedQuantizer(spec, where, device)
    if spec.mode == "static":
        return StaticQuantizer(spec, where, device)
    return Quantizer(spec, where)
