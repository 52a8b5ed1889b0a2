"""Compile the kernel for sm_90 without a device, in every form that a transformer block uses.

A program of its own: in the tests' process Triton interprets. Prints one line per form.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fp8_qat.fused.kernels import _quantize_rows_kernel

POINTERS = {"x_ptr": "*bf16", "weight_ptr": "*fp32", "bias_ptr": "*fp32", "scale_ptr": "*fp32"}
NUMBERS = {"columns": "i32", "row_stride": "i32", "runs": "i32", "eps": "fp32"}
FORMS = [
    (before, rule, width)
    for before in ("none", "layer_norm", "gelu")
    for rule, width in (("divide", 1024), ("multiply_pow2", 128), ("mx_rceil", 32))
]


def compile_form(before: str, rule: str, width: int) -> str:
    constants = {
        "FMAX": 448.0,
        "LARGEST": 3.3895313892515355e38,
        "BEFORE": before,
        "RULE": rule,
        "WIDTH": width,
        "BLOCK": 1024,
        "MANTISSA": 3,
        "SMALLEST": 2.0**-6,
        "ROUND_FIRST": False,
    }
    signature = POINTERS | {"codes_ptr": "*fp8e4nv"} | NUMBERS
    signature = {name: signature.get(name, "constexpr") for name in _quantize_rows_kernel.arg_names}
    source = ASTSource(fn=_quantize_rows_kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": 1}
    )
    ptx = compiled.asm["ptx"]
    assert "cvt.rn.satfinite.e4m3x2.f32" in ptx, "the cast is not the hardware's"
    assert ("div.rn.f32" in ptx) or rule == "mx_rceil", "division is not IEEE"
    assert "st.local" not in ptx and "ld.local" not in ptx, "registers spill"
    return f"{before} {rule} {width}: {len(compiled.asm['cubin'])} bytes"


if __name__ == "__main__":
    for form in FORMS:
        sys.stdout.write(compile_form(*form) + "\n")
