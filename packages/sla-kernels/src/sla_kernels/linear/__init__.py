"""The branch of linear attention that sees what the sparse branch leaves out."""

from sla_kernels.linear import op as op
