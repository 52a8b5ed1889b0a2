"""The library compressed-tensors reads our files, where it is installed.

It needs transformers and is no dependency: pip install compressed-tensors
"""

import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from fp8_qat import calibrate, convert, dequantize, prepare, recipes, save_fp8

library = pytest.importorskip("compressed_tensors", reason="needs pip install compressed-tensors")


@pytest.mark.parametrize(
    "name",
    ["rowwise", "tensorwise", "te_current", "static", "block", "deepseek_block", "weight_only"],
)
@pytest.mark.parametrize("sizes", [(256, 512, 128), (128, 128, 1)])  # the latter: one scale
def test_its_reader_finds_our_names_shapes_and_values(name: str, sizes, tmp_path) -> None:
    first, second, third = sizes
    plain = nn.Sequential(nn.Linear(first, second), nn.GELU(), nn.Linear(second, third))
    model, path = copy.deepcopy(plain), tmp_path / "model.safetensors"
    prepare(model, recipes.by_name(name))
    if name == "static":
        calibrate(model, [torch.randn(8, first)])
    convert(model, backend="reference")
    save_fp8(model, path, layout="compressed-tensors")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["quantization_config"])
    theirs = library.quantization.QuantizationConfig.model_validate(config)
    library.quantization.apply_quantization_config(plain, theirs)
    reader = library.compressors.ModelCompressor(quantization_config=theirs)
    reader.compress_model(plain)
    tensors = load_file(path)
    expected = {key: (value.shape, value.dtype) for key, value in plain.state_dict().items()}
    assert {key: (value.shape, value.dtype) for key, value in tensors.items()} == expected
    plain.load_state_dict(tensors)
    reader.decompress_model(plain)
    for index in (0, 2):
        assert torch.equal(plain[index].weight, dequantize(model[index].quantized_weight()))
