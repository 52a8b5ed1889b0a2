"""torchao multiplies our codes, where it is installed."""

import copy
import sys

import pytest
import torch
from torch import nn

from fp8_qat import convert, prepare, recipes, sqnr


def test_without_torchao_the_refusal_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    layer = nn.Linear(32, 48)
    prepare(layer, recipes.rowwise())
    with pytest.raises(ValueError, match=r"pip install 'fp8-qat\[torchao\]'"):
        convert(layer, backend="torchao")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["rowwise", "tensorwise", "weight_only", "delayed"])
def test_torchao_agrees_with_the_reference(name: str, dtype: torch.dtype) -> None:
    pytest.importorskip("torchao", reason="needs pip install 'fp8-qat[torchao]'")
    layer = nn.Linear(64, 48).to(dtype)
    prepare(layer, recipes.by_name(name))
    other = copy.deepcopy(layer)
    convert(layer)
    convert(other, backend="torchao")
    x = torch.randn(3, 5, 64).to(dtype)
    x[1, 2] = 0.0
    assert other(x).shape == (3, 5, 48) and other(x).dtype == dtype
    assert sqnr(layer(x), other(x)) > 45


def test_block_recipes_are_refused() -> None:
    layer = nn.Linear(64, 48)
    prepare(layer, recipes.block())
    with pytest.raises(ValueError, match="scales blocks"):
        convert(layer, backend="torchao")
