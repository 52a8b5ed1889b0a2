"""Partial attention distillation that scales and never loses work."""

from importlib.metadata import version

from distill.attention import AttentionDistillation as AttentionDistillation
from distill.batches import Batches as Batches
from distill.batches import Cycled as Cycled
from distill.batches import Shuffled as Shuffled
from distill.batches import Streamed as Streamed
from distill.config import DistillConfig as DistillConfig
from distill.config import GuardConfig as GuardConfig
from distill.evaluate import sharded_mean as sharded_mean
from distill.freeze import TrainableReport as TrainableReport
from distill.freeze import freeze_except as freeze_except
from distill.freeze import trainable_report as trainable_report
from distill.guard import Diverged as Diverged
from distill.journal import read_journal as read_journal
from distill.loop import distill as distill
from distill.objectives import AttentionOutputs as AttentionOutputs
from distill.objectives import Features as Features
from distill.objectives import Objective as Objective
from distill.objectives import Observation as Observation
from distill.pairs import Pair as Pair
from distill.pairs import pair_sites as pair_sites
from distill.progress import TerminalProgress as TerminalProgress
from distill.recompute import recomputed_activations as recomputed_activations
from distill.reporter import Quiet as Quiet
from distill.reporter import Reporter as Reporter
from distill.reporter import Start as Start
from distill.reporter import StepRecord as StepRecord
from distill.reporter import Together as Together
from distill.result import Result as Result

__version__ = version("distill")
