"""What a call costs: time, memory and floating-point operations."""

from recon_eval.efficiency.comparison import compare as compare
from recon_eval.efficiency.counting import Step as Step
from recon_eval.efficiency.counting import Steps as Steps
from recon_eval.efficiency.devices import DEVICES as DEVICES
from recon_eval.efficiency.devices import Device as Device
from recon_eval.efficiency.flops import count_flops as count_flops
from recon_eval.efficiency.latency import time_calls as time_calls
from recon_eval.efficiency.machine import environment as environment
from recon_eval.efficiency.machine import gpu_name as gpu_name
from recon_eval.efficiency.machine import pick_device as pick_device
from recon_eval.efficiency.machine import place as place
from recon_eval.efficiency.machine import versions as versions
from recon_eval.efficiency.measurement import EfficiencyResult as EfficiencyResult
from recon_eval.efficiency.measurement import measure as measure
from recon_eval.efficiency.memory import PeakMemory as PeakMemory
from recon_eval.efficiency.memory import peak_memory as peak_memory
from recon_eval.efficiency.parts import time_modules as time_modules
from recon_eval.efficiency.roofline import Prediction as Prediction
from recon_eval.efficiency.roofline import predict as predict
from recon_eval.efficiency.tables import cost_panels as cost_panels
from recon_eval.efficiency.tables import cost_row as cost_row
from recon_eval.efficiency.tables import cost_table as cost_table
from recon_eval.efficiency.variants import Variant as Variant
from recon_eval.efficiency.variants import check_variants as check_variants
from recon_eval.efficiency.variants import weight_bytes as weight_bytes
