"""Which key blocks each query block attends."""

from sla_kernels.select import op as op
from sla_kernels.select.choice import select_blocks as select_blocks
from sla_kernels.select.selection import BlockSelection as BlockSelection
