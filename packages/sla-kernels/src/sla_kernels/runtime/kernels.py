"""Where a program of a Triton kernel stands, in kernels of any kind.

Programs are counted on the first axis of the grid, which has room for 2^31; others end at 65535.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _program(tiles):
    """Which of a head's tiles this program works on, and which head, counted through the batch."""
    at = tl.program_id(0)
    return at % tiles, (at // tiles).to(tl.int64)


@triton.jit
@no_type_check
def _head(base, bh, heads, group, stride_b, stride_h):
    """Where the head begins that serves head `bh`, of a tensor whose heads serve `group` each."""
    return base + bh // heads * stride_b + bh % heads // group * stride_h
