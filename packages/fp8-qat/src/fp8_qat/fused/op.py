"""Quantization of activations in one pass, alone or after what comes before it.

In a transformer block the input of `qkv` and `fc1` comes out of a layer norm and that of
`fc2` out of GELU; each is read and written once here, where separate steps move it thrice.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fp8_qat.fused.kernels import _quantize_rows_kernel
from fp8_qat.fused.runtime import INSTALLED, next_power
from fp8_qat.numerics.errors import check_choice, check_tensor
from fp8_qat.numerics.quantize import QuantizedTensor, check_high_precision, quantize
from fp8_qat.numerics.spec import Spec

BACKENDS = ("auto", "reference", "triton")
RULES = ("divide", "multiply", "multiply_pow2", "reciprocal", "reciprocal_pow2", "mx_rceil")
LONGEST_ROW = 32768  # one program holds a whole row in registers


def quantize_activation(
    x: Float[Tensor, "*lead k"], spec: Spec, *, backend: str = "auto"
) -> QuantizedTensor:
    """Quantize with one scale per row or per run of a row (1 x 128, 1 x 32), in one pass.

    - `backend`: "triton" runs the kernel, "reference" PyTorch operations, which `torch.compile`
      fuses; "auto" is the kernel for CUDA tensors outside of compilation and a spec that
      it covers, the reference otherwise. Codes and scales are the same, but for what Inductor
      makes of the reference on CUDA, where it divides less exactly.

    Raises ValueError for an unknown backend, and where "triton" is asked for and Triton is
    not installed, the device is out of reach, or the spec or row is not covered.
    """
    if _chosen(x, spec, backend) == "reference":
        return quantize(x, spec)
    return _launch(x, spec, "none", None, None, 0.0)


def layer_norm_quantize(
    x: Float[Tensor, "*lead k"],
    weight: Float[Tensor, " k"],
    bias: Float[Tensor, " k"],
    spec: Spec,
    *,
    eps: float = 1e-6,
    backend: str = "auto",
) -> QuantizedTensor:
    """Normalize over the last axis in float32, round to the dtype of `x`, and quantize.

    Backends and errors are those of `quantize_activation`; ValueError too for a weight or bias of
    another length or device than the last axis of `x`. Reductions are ordered differently, so that
    a value next to a rounding boundary may get the neighboring code.
    """
    _check_norm(x, weight=weight, bias=bias)
    if _chosen(x, spec, backend) == "reference":
        normed = F.layer_norm(x.float(), x.shape[-1:], weight.float(), bias.float(), eps)
        return quantize(normed.to(x.dtype), spec)
    return _launch(x, spec, "layer_norm", weight, bias, eps)


def gelu_quantize(
    x: Float[Tensor, "*lead k"], spec: Spec, *, backend: str = "auto"
) -> QuantizedTensor:
    """Apply the exact (erf) GELU in float32, round to the dtype of `x`, and quantize.

    Backends, errors and the caveat are those of `layer_norm_quantize`.
    """
    if _chosen(x, spec, backend) == "reference":
        return quantize(F.gelu(x.float()).to(x.dtype), spec)
    return _launch(x, spec, "gelu", None, None, 0.0)


def _check_norm(x: object, **parameters: object) -> None:
    check_tensor("x", x)
    assert isinstance(x, Tensor)
    wanted = tuple(x.shape[-1:])
    for name, value in parameters.items():
        check_tensor(name, value)
        assert isinstance(value, Tensor)
        if tuple(value.shape) != wanted or not value.is_floating_point():
            raise ValueError(
                f"{name}={value.dtype} of shape {tuple(value.shape)}; it must be floating point of "
                f"shape {wanted}, one for each value of the last axis of x: give the norm's own"
            )
        if value.device != x.device:
            raise ValueError(
                f"{name}=tensor on {value.device}; it must be on {x.device}, as x is: move one to "
                "the other"
            )


def kernel_problem(x: Float[Tensor, "*lead k"], spec: Spec) -> str | None:
    """Say why the kernel cannot quantize `x` by `spec`; None if it can."""
    if not INSTALLED:
        return "it needs Triton, which is not installed: pip install 'fp8-qat[triton]'"
    if not x.is_cuda and not _interpreted():
        return (
            f"it needs a CUDA device, and the tensor is on {x.device}: move it, or set "
            "TRITON_INTERPRET=1 before Triton is imported"
        )
    if x.is_cuda and torch.cuda.get_device_capability(x.device) < (8, 9):
        return "it needs a device that casts to FP8, sm_89 or newer: run elsewhere"
    if x.shape[-1] > LONGEST_ROW:
        return f"it takes rows of at most {LONGEST_ROW} values, not {x.shape[-1]}: part them"
    whole = spec.granularity == "row" or (
        not isinstance(spec.granularity, str) and _runs_in_rows(spec.granularity)
    )
    if spec.mode != "dynamic" or spec.rule not in RULES or not whole:
        return (
            f"the kernel covers dynamic scales per row or per run of a row whose length is a "
            f"power of two, by the rules {', '.join(RULES)}, not {spec}: give another spec"
        )
    return None


def _runs_in_rows(granularity: tuple[int, int]) -> bool:
    rows, columns = granularity
    return rows == 1 and columns == next_power(columns)


def _interpreted() -> bool:
    return type(_quantize_rows_kernel).__name__ == "InterpretedFunction"


def _chosen(x: Tensor, spec: Spec, backend: str) -> str:
    check_choice("backend", backend, BACKENDS)
    check_high_precision(x)
    if backend == "auto":
        usable = x.is_cuda and not torch.compiler.is_compiling()
        return "triton" if usable and kernel_problem(x, spec) is None else "reference"
    problem = kernel_problem(x, spec) if backend == "triton" else None
    if problem:
        raise ValueError(f"backend='triton'; {problem}: use backend='reference'")
    return backend


def rounds_first(capability: int) -> bool:
    """Whether a device (89 for sm_89) needs values rounded in float32 before the cast.

    Before sm_90 Triton casts by way of float16, truncating, and so rounds some values that
    lie next to a tie wrongly. Its interpreter does too. Rounded values pass unchanged.
    """
    return capability < 90


def _capability(device: torch.device) -> int:
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def warps(block: int) -> int:
    """How many warps of 32 threads share a row of `block` values."""
    return min(16, max(1, block // 256))


def _launch(
    x: Tensor, spec: Spec, before: str, weight: Tensor | None, bias: Tensor | None, eps: float
) -> QuantizedTensor:
    columns = x.shape[-1]
    matrix = x.reshape(-1, columns)
    matrix = matrix if matrix.stride(-1) == 1 else matrix.contiguous()
    rows = matrix.shape[0]
    width = columns if isinstance(spec.granularity, str) else spec.granularity[1]
    runs = -(-columns // width)
    codes = torch.empty(rows, columns, dtype=spec.fp8.dtype, device=x.device)
    scale = torch.empty(rows, runs, dtype=torch.float32, device=x.device)
    block = next_power(max(columns, width))
    if not rows:
        return QuantizedTensor(codes=codes.view(x.shape), scale=scale, spec=spec)
    with torch.cuda.device_of(x):  # Triton launches on the current device
        _quantize_rows_kernel[(rows,)](
            matrix,
            matrix if weight is None else weight.contiguous(),
            matrix if bias is None else bias.contiguous(),
            codes,
            scale,
            columns,
            matrix.stride(0),
            runs,
            eps,
            FMAX=spec.fp8.max,
            LARGEST=torch.finfo(x.dtype).max,
            BEFORE=before,
            RULE=spec.rule,
            WIDTH=min(next_power(width), block),
            BLOCK=block,
            MANTISSA=spec.fp8.mantissa_bits,
            SMALLEST=2.0**spec.fp8.min_exponent,
            ROUND_FIRST=_interpreted() or rounds_first(_capability(x.device)),
            num_warps=warps(block),
        )
    return QuantizedTensor(codes=codes.view(x.shape), scale=scale, spec=spec)
