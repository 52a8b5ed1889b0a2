"""What a call costs: time, memory and floating-point operations."""

from .flops import count_flops as count_flops
from .latency import time_calls as time_calls
from .measurement import EfficiencyResult as EfficiencyResult
from .measurement import measure as measure
from .memory import PeakMemory as PeakMemory
from .memory import peak_memory as peak_memory
