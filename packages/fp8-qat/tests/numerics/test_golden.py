"""Bytes and scales equal those of the public implementations, exactly."""

import pytest
import torch
from safetensors.torch import load_file

from fp8_qat import Spec, dequantize, fake_quantize, quantize, recipes

ROWS, BLOCK = (1, 128), (128, 128)
GOLDEN = {  # name in the files: our spec
    "row_fp32scale_divide": recipes.rowwise().weight,
    "te_current_fp32": recipes.te_current().weight,
    "te_current_pow2": recipes.te_current(pow2=True).weight,
    "te_1x128_fp32": recipes.block(pow2=False).activation,
    "te_1x128_pow2": recipes.block().activation,
    "te_128x128_fp32": recipes.block(pow2=False).weight,
    "te_128x128_pow2": recipes.block().weight,
    "deepgemm_1x128_fp32": recipes.deepseek_block().activation,
    "deepgemm_1x128_ue8m0": recipes.deepseek_block(ue8m0=True).activation,
    "deepgemm_128x128_fp32": recipes.deepseek_block().weight,
    "deepgemm_128x128_ue8m0": recipes.deepseek_block(ue8m0=True).weight,
    "mxfp8_rceil": recipes.mxfp8().weight,
    "mxfp8_floor": recipes.mxfp8(floor=True).weight,
    "torchao_training_tensorwise": recipes.tensorwise().weight,
}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_and_scales_equal_the_golden_ones(name: str, dtype: str, parity) -> None:
    golden = load_file(parity / f"golden_{dtype}.safetensors")
    quantized = quantize(golden["x"], GOLDEN[name])
    expected = golden[f"{name}.descale"]
    scale = quantized.exponents if expected.dtype == torch.uint8 else quantized.scale
    assert torch.equal(scale, expected.reshape(scale.shape))
    assert torch.equal(quantized.bytes, golden[f"{name}.q"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_recipe_of_the_golden_files_is_checked(dtype: str, parity) -> None:
    golden = load_file(parity / f"golden_{dtype}.safetensors")
    assert {key.removesuffix(".q") for key in golden if key.endswith(".q")} == set(GOLDEN)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", GOLDEN.values(), ids=GOLDEN)
def test_fake_quantization_equals_the_real_one_bit_for_bit(spec: Spec, dtype, parity) -> None:
    x = load_file(parity / f"golden_{dtype}.safetensors")["x"]
    expected = dequantize(quantize(x, spec), x.dtype)
    integer = torch.int32 if x.dtype == torch.float32 else torch.int16
    assert torch.equal(fake_quantize(x, spec).view(integer), expected.view(integer))
