"""Activations quantized in one pass: alone, after a layer norm, after GELU."""

from fp8_qat.fused.op import gelu_quantize as gelu_quantize
from fp8_qat.fused.op import kernel_problem as kernel_problem
from fp8_qat.fused.op import layer_norm_quantize as layer_norm_quantize
from fp8_qat.fused.op import quantize_activation as quantize_activation
