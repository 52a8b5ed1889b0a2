"""Trainable block-sparse plus linear attention in Triton, with exact CPU backends."""

from importlib.metadata import version

from sla_kernels import flops as flops
from sla_kernels.attention import Branches as Branches
from sla_kernels.attention import sla_attention as sla_attention
from sla_kernels.explain import Explanation as Explanation
from sla_kernels.explain import explain as explain
from sla_kernels.mass import observed_mass as observed_mass
from sla_kernels.models import attend_all_below as attend_all_below
from sla_kernels.models import calibrate as calibrate
from sla_kernels.models import change_dtype as change_dtype
from sla_kernels.models import forget_calibration as forget_calibration
from sla_kernels.models import share_blocks as share_blocks
from sla_kernels.models import short_on as short_on
from sla_kernels.models import stored_calibration as stored_calibration
from sla_kernels.module import SparseLinearAttention as SparseLinearAttention
from sla_kernels.module import calibrated as calibrated
from sla_kernels.module import corrected as corrected
from sla_kernels.module import observed_selections as observed_selections
from sla_kernels.order import SharedOrder as SharedOrder
from sla_kernels.order import TokenOrder as TokenOrder
from sla_kernels.order import order_tokens as order_tokens
from sla_kernels.order import principal_axes as principal_axes
from sla_kernels.runtime.library import bodies as bodies
from sla_kernels.runtime.library import written_out as written_out
from sla_kernels.sdpa_override import Overridden as Overridden
from sla_kernels.sdpa_override import Site as Site
from sla_kernels.sdpa_override import sdpa_override as sdpa_override
from sla_kernels.search.choice import select_rows as select_rows
from sla_kernels.select import BlockSelection as BlockSelection
from sla_kernels.select import select_blocks as select_blocks
from sla_kernels.sparse_attention import block_sparse_attention as block_sparse_attention
from sla_kernels.summary import SummarySelection as SummarySelection

__version__ = version("sla-kernels")
