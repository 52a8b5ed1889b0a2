"""What multiplies FP8 layers once they are deployed, by name."""

from fp8_qat.backends.choice import LAYERS as LAYERS
from fp8_qat.backends.choice import Chosen as Chosen
from fp8_qat.backends.choice import choose as choose
from fp8_qat.backends.scaled_mm import FastScaledMMLinear as FastScaledMMLinear
from fp8_qat.backends.scaled_mm import ScaledMMLinear as ScaledMMLinear
from fp8_qat.backends.te import Status as Status
from fp8_qat.backends.te import TransformerEngineLinear as TransformerEngineLinear
from fp8_qat.backends.te import te_recipe as te_recipe
from fp8_qat.backends.te import te_status as te_status
from fp8_qat.backends.torchao import TorchaoLinear as TorchaoLinear
from fp8_qat.backends.weight_only import Bfloat16WeightOnlyLinear as Bfloat16WeightOnlyLinear
from fp8_qat.backends.weight_only import WeightOnlyLinear as WeightOnlyLinear
