"""What is read in the outputs of a model."""

import pytest
import torch

from distill.observe.observation import read_field


class Outputs:
    """As of a model that has colors only where it was asked for them."""

    def __init__(self):
        self.depth, self.asked = torch.ones(2), []

    @property
    def colors(self):
        self.asked.append("colors")
        raise RuntimeError("colors were not asked for")


def test_only_the_field_that_is_asked_for_is_read():
    outputs = Outputs()
    assert read_field(outputs, "depth") is outputs.depth and not outputs.asked
    with pytest.raises(ValueError, match=r"field='depths'; .* no such tensor: .*'depth'"):
        read_field(outputs, "depths")
    with pytest.raises(RuntimeError, match="colors were not asked for"):
        read_field(outputs, "colors")


def test_a_tensor_has_no_fields():
    with pytest.raises(ValueError, match=r"field='T'; the outputs .Tensor. have no such tensor"):
        read_field(torch.ones(2, 2), "T")
