"""An input that a layer cannot take is refused with the layer's name, the rule and the way out."""

import pytest
import torch
from torch import nn

from fp8_qat import convert, prepare, recipes

CONVERTED = ("reference", "scaled_mm", "weight_only")
STAGES = [
    *("trained", "frozen", "released", "reference", "weight_only"),
    pytest.param("scaled_mm", marks=pytest.mark.multiplies),
]
BAD = {
    r"dtype=torch\.float64; it must be float32.*: cast it": torch.randn(3, 48).double(),
    r"shape=\(3, 47\); its last axis must be 48: give": torch.randn(3, 47),
    r"device=meta; it must be cpu, where the layer is: move one": torch.empty(3, 48, device="meta"),
    r"dtype=torch\.bfloat16; it must be the weight's torch\.float32: cast one": torch.randn(
        3, 48
    ).bfloat16(),
}


def staged(stage: str) -> nn.Module:
    model = nn.ModuleDict({"fc": nn.Linear(48, 32)})
    model.forward = lambda x: model["fc"](x)
    if stage in ("frozen", "released"):
        model.requires_grad_(False)
    prepare(model, recipes.rowwise(), frozen="keep" if stage == "frozen" else "auto")
    if stage in CONVERTED:
        convert(model, backend=stage)
    return model


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("stage", STAGES)
def test_every_kind_of_layer_names_itself(stage: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^input of layer 'fc': {message}"):
        staged(stage)(BAD[message])


@pytest.mark.parametrize("stage", STAGES)
def test_empty_batches_pass_through_every_kind_of_layer(stage: str) -> None:
    assert staged(stage)(torch.empty(2, 0, 48)).shape == (2, 0, 32)
