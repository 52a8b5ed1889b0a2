"""What stands beside what: orders of tokens in which neighbors are alike."""

from sla_kernels.order import op as op
from sla_kernels.order.axes import principal_axes as principal_axes
from sla_kernels.order.given import Ordering as Ordering
from sla_kernels.order.given import SharedOrder as SharedOrder
from sla_kernels.order.tokens import TokenOrder as TokenOrder
from sla_kernels.order.tokens import order_tokens as order_tokens
