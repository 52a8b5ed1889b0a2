"""Which key blocks each query block attends."""

from sla_kernels.select import op as op
from sla_kernels.select.blocks import BlockSelection as BlockSelection
from sla_kernels.select.public import select_blocks as select_blocks
