"""The branch of exact softmax attention over the kept key blocks."""

from sla_kernels.sparse import op as op
from sla_kernels.sparse.public import block_sparse_attention as block_sparse_attention
