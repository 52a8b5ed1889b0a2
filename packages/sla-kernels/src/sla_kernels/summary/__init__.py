"""Few exact blocks, and summaries for the rest: one softmax over a short list of rows."""

from sla_kernels.summary import op as op
from sla_kernels.summary.selection import SummarySelection as SummarySelection
