"""Evaluation of depth, poses and point clouds that can be trusted."""

from importlib.metadata import version

from recon_eval import ablation as ablation
from recon_eval import align as align
from recon_eval import conventions as conventions
from recon_eval import data as data
from recon_eval import depth as depth
from recon_eval import dtu as dtu
from recon_eval import efficiency as efficiency
from recon_eval import exams as exams
from recon_eval import formats as formats
from recon_eval import gallery as gallery
from recon_eval import pages as pages
from recon_eval import points as points
from recon_eval import pose as pose
from recon_eval import reconstruction as reconstruction
from recon_eval import report as report
from recon_eval.answers import Answer as Answer
from recon_eval.answers import against_another as against_another
from recon_eval.answers import against_truth as against_truth
from recon_eval.metrics import METRICS as METRICS
from recon_eval.metrics import Metric as Metric
from recon_eval.metrics import change_in_words as change_in_words
from recon_eval.metrics import metric_of as metric_of
from recon_eval.protocols import PROTOCOLS as PROTOCOLS
from recon_eval.protocols import Protocol as Protocol
from recon_eval.protocols import evaluate as evaluate
from recon_eval.protocols import means as means
from recon_eval.report import Report as Report

__version__ = version("recon-eval")
