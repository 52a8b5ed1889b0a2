"""The branch of exact softmax attention over the kept key blocks."""

from sla_kernels.sparse import op as op
