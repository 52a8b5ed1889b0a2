"""Depth maps against ground truth: align, then measure."""

from recon_eval.depth.alignment import ALIGNMENTS as ALIGNMENTS
from recon_eval.depth.alignment import Alignment as Alignment
from recon_eval.depth.alignment import Scope as Scope
from recon_eval.depth.alignment import align as align
from recon_eval.depth.evaluation import DepthResult as DepthResult
from recon_eval.depth.evaluation import evaluate as evaluate
from recon_eval.depth.metrics import FORMULAS as FORMULAS
from recon_eval.depth.metrics import DepthMetrics as DepthMetrics
from recon_eval.depth.metrics import measure as measure
from recon_eval.depth.resize import resize as resize
