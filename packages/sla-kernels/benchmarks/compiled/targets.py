"""The GPUs that kernels are compiled for, and what a program may have there."""

import torch
from triton.backends.compiler import GPUTarget

TARGETS = {
    **{f"sm_{sm}": GPUTarget("cuda", sm, 32) for sm in (80, 86, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SHARED_BYTES = {  # what one program may have
    "sm_80": 163 << 10,
    "sm_86": 99 << 10,
    "sm_90": 227 << 10,
    "sm_100": 227 << 10,
    "sm_120": 99 << 10,
    "gfx942": 64 << 10,
}
TENSOR_CORES = {
    "sm_80": r"\bHMMA",
    "sm_86": r"\bHMMA",
    "sm_90": r"\bHG?MMA",
    "sm_100": r"\b(?:UTC\w*MMA|HMMA)",
    "sm_120": r"\bHMMA",
    "gfx942": r"v_mfma",
}
