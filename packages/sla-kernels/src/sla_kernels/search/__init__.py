"""Which rows each block of queries attends: an order, and a walk from coarse cells to tokens."""

from sla_kernels.search.choice import RowChoice as RowChoice
from sla_kernels.search.choice import select_rows as select_rows
