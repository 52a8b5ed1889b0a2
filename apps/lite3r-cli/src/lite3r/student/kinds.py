"""The words that a recipe and a deployment take; options name them, so PyTorch is not needed."""

from typing import Literal

Order = Literal["content", "sequence"]
Estimator = Literal["mean", "subblock_lse"]
FeatureMap = Literal["softmax", "elu1", "relu"]
Linear = Literal["none", "all", "complement"]
TokenOrder = Literal["raster", "tile8"]
Scope = Literal["global", "frame", "both"]
Rounding = Literal["inputs", "nearest"]
Fp8 = Literal["rowwise", "tensorwise", "block", "mxfp8", "none"]
Trainable = Literal["none", "proj", "out", "gains", "lora", "attn", "all"]
Backend = Literal["auto", "reference", "weight_only", "scaled_mm"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
