"""Depth maps against ground truth: align, then measure."""

from .alignment import ALIGNMENTS as ALIGNMENTS
from .alignment import Alignment as Alignment
from .alignment import Scope as Scope
from .alignment import align as align
from .evaluation import DepthResult as DepthResult
from .evaluation import evaluate as evaluate
from .metrics import METRICS as METRICS
from .metrics import DepthMetrics as DepthMetrics
from .metrics import measure as measure
from .resize import resize as resize
