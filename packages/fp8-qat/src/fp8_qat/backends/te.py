"""NVIDIA Transformer Engine as what multiplies, and its recipes by our names.

Transformer Engine quantizes both operands itself, from high-precision tensors, with the
formulas that our recipes of the same name repeat.
"""

import importlib
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import layer_input
from fp8_qat.numerics.spec import Recipe, Spec

ROWS = 16  # tokens are filled to a multiple of this
_COLUMNS = 16


class Status(NamedTuple):
    """Whether Transformer Engine can be used, and if not, why and what to do."""

    available: bool
    reason: str


def te_status() -> Status:
    """Try to import Transformer Engine and say what came of it. Nothing is installed."""
    try:
        importlib.import_module("transformer_engine.pytorch")
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        return Status(
            False,
            f"transformer_engine.pytorch cannot be imported ({type(error).__name__}: {error}): "
            "pip install --no-build-isolation 'fp8-qat[te]' where a CUDA build of PyTorch is",
        )
    if not torch.cuda.is_available():
        return Status(False, "Transformer Engine computes on CUDA devices alone, and none is here")
    return Status(True, "transformer_engine.pytorch is imported and a CUDA device is here")


def te_recipe(recipe: Recipe) -> Any:
    """Make the Transformer Engine recipe that equals one of ours.

    Backward is unquantized (`backward_override="high_precision"`), the straight-through
    gradient, except for delayed scaling, where Transformer Engine has no such choice.
    Raises ValueError for a recipe that Transformer Engine lacks, rowwise() above all.
    """
    name, arguments, pow2 = _mapping(recipe)
    module = importlib.import_module("transformer_engine.common.recipe")
    made = getattr(module, name)(fp8_format=module.Format.E4M3, **arguments)
    if pow2 is not None:
        made.fp8_quant_fwd_inp = module.QParams(power_2_scale=pow2, amax_epsilon=0.0)
        made.fp8_quant_fwd_weight = module.QParams(power_2_scale=pow2, amax_epsilon=0.0)
    return made


class TransformerEngineLinear(Fp8Linear):
    """Holds a `transformer_engine.pytorch.Linear` made from the multiplied-back weight."""

    backend: ClassVar[str] = "te"
    agrees_db: ClassVar[float] = 40.0
    engine: Any
    engine_recipe: Any

    @classmethod
    def problems(cls, layer: nn.Linear, recipe: Recipe, device: torch.device) -> list[str]:
        found = []
        try:
            _mapping(recipe)
        except ValueError as error:
            found.append(str(error))
        if recipe.weight.mode == "delayed":
            found.append(
                f"recipe={recipe.name!r}; it must not be delayed, as Transformer Engine's own "
                "delayed scales start from 1 and not from the trained ones: use backend 'scaled_mm'"
            )
        n, k = layer.out_features, layer.in_features
        if n % _COLUMNS or k % _COLUMNS:
            found.append(
                f"weight={n} x {k}; both must be multiples of {_COLUMNS} for Transformer Engine: "
                "exclude the layer, or use backend 'scaled_mm', which fills up with zeros"
            )
        status = te_status()
        problem = _device_problem(device) if status.available else status.reason
        return [*found, problem] if problem else found

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        return "Transformer Engine quantizes the multiplied-back weight again"

    def derive(self) -> None:
        te = importlib.import_module("transformer_engine.pytorch")
        weight = self.dequantized_weight()
        made = te.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            params_dtype=self.like.dtype,
            device=weight.device,
        )
        with torch.no_grad():
            made.weight.copy_(weight)
            if self.bias is not None:
                made.bias.copy_(self.bias)
        # Held outside the module tree: the state dict stays weight, weight_scale and bias.
        object.__setattr__(self, "engine", made.requires_grad_(False).eval())
        self.engine_recipe = te_recipe(self.recipe)

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        te = importlib.import_module("transformer_engine.pytorch")
        x = layer_input(self, input).reshape(-1, self.in_features)
        rows = x.shape[0]
        x = nn.functional.pad(x, (0, 0, 0, -rows % ROWS))
        with te.autocast(enabled=True, recipe=self.engine_recipe):
            y: Tensor = self.engine(x)
        return y[:rows].reshape(*input.shape[:-1], self.out_features)


def _device_problem(device: torch.device) -> str | None:
    if device.type == "cuda":
        return None
    return f"device={device}; it must be a CUDA device: move the model there first"


def _mapping(recipe: Recipe) -> tuple[str, dict[str, Any], bool | None]:
    """Class name, arguments and power-of-two switch of the recipe in Transformer Engine."""
    weight, activation = recipe.weight, recipe.activation
    straight = {"backward_override": "high_precision"}
    pow2 = weight.rule == "multiply_pow2"
    if activation is not None and weight.format == activation.format == "e4m3":
        if weight == activation and weight.granularity == "tensor":
            if weight.mode == "delayed":
                return "DelayedScaling", _delayed(weight), None
            if weight.rule in ("multiply", "multiply_pow2"):
                return "Float8CurrentScaling", straight, pow2
        shapes = weight.granularity, activation.granularity
        rules = {weight.rule, activation.rule}
        if shapes == ((128, 128), (1, 128)) and rules in ({"multiply"}, {"multiply_pow2"}):
            return "Float8BlockScaling", straight, pow2
        if shapes == ((1, 32), (1, 32)) and rules == {"mx_rceil"}:
            return "MXFP8BlockScaling", straight, None
    raise ValueError(
        f"recipe={recipe.name!r}; it must equal one of Transformer Engine's, and none does: "
        "prepare with te_current(), delayed(), block() or mxfp8(), or use backend 'scaled_mm'"
    )


def _delayed(spec: Spec) -> dict[str, Any]:
    return {
        "margin": spec.margin,
        "amax_history_len": spec.history,
        "amax_compute_algo": spec.algorithm,
    }
