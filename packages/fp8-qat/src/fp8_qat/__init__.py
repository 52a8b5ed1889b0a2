"""FP8 quantization-aware training that deploys what it trained."""

from importlib.metadata import version

from fp8_qat import recipes as recipes
from fp8_qat.backends import Status as Status
from fp8_qat.backends import te_recipe as te_recipe
from fp8_qat.backends import te_status as te_status
from fp8_qat.backends.choice import multiplies_bfloat16 as multiplies_bfloat16
from fp8_qat.backends.choice import multiplies_fp8 as multiplies_fp8
from fp8_qat.convert import convert as convert
from fp8_qat.convert import dequantized as dequantized
from fp8_qat.files.checkpoint import load_fp8 as load_fp8
from fp8_qat.files.checkpoint import save_fp8 as save_fp8
from fp8_qat.files.layouts import quantization_config as quantization_config
from fp8_qat.fused import gelu_quantize as gelu_quantize
from fp8_qat.fused import layer_norm_quantize as layer_norm_quantize
from fp8_qat.fused import quantize_activation as quantize_activation
from fp8_qat.fusion import fuse as fuse
from fp8_qat.layers.stored import store as store
from fp8_qat.numerics.fake import fake_quantize as fake_quantize
from fp8_qat.numerics.quantize import QuantizedTensor as QuantizedTensor
from fp8_qat.numerics.quantize import dequantize as dequantize
from fp8_qat.numerics.quantize import quantize as quantize
from fp8_qat.numerics.spec import Recipe as Recipe
from fp8_qat.numerics.spec import Spec as Spec
from fp8_qat.on_data.baseline import Comparison as Comparison
from fp8_qat.on_data.baseline import compare_with_ptq as compare_with_ptq
from fp8_qat.on_data.calibrate import calibrate as calibrate
from fp8_qat.on_data.inputs import observed_inputs as observed_inputs
from fp8_qat.on_data.measure import layer_sqnr as layer_sqnr
from fp8_qat.on_data.sensitivity import Budgeted as Budgeted
from fp8_qat.on_data.sensitivity import Sensitivity as Sensitivity
from fp8_qat.on_data.sensitivity import choose_layers as choose_layers
from fp8_qat.on_data.sensitivity import scan_sensitivity as scan_sensitivity
from fp8_qat.prepare import Handle as Handle
from fp8_qat.prepare import fixed_codes as fixed_codes
from fp8_qat.prepare import prepare as prepare
from fp8_qat.report import Report as Report
from fp8_qat.report import sqnr as sqnr

__version__ = version("fp8-qat")
