"""Partial attention distillation that scales and never loses work."""

from importlib.metadata import version

from distill.accelerated import sharding_of as sharding_of
from distill.attention import AttentionDistillation as AttentionDistillation
from distill.batches import Batches as Batches
from distill.batches import Cycled as Cycled
from distill.batches import Shuffled as Shuffled
from distill.batches import Streamed as Streamed
from distill.config import DistillConfig as DistillConfig
from distill.config import GuardConfig as GuardConfig
from distill.evaluate import sharded_mean as sharded_mean
from distill.fit import Fit as Fit
from distill.fit import FitResult as FitResult
from distill.fit import fit_projections as fit_projections
from distill.freeze import TrainableReport as TrainableReport
from distill.freeze import freeze_except as freeze_except
from distill.freeze import trainable_report as trainable_report
from distill.guard import Diverged as Diverged
from distill.journal import read_journal as read_journal
from distill.launch import join_processes as join_processes
from distill.loop import distill as distill
from distill.lora import add_lora as add_lora
from distill.lora import merge_lora as merge_lora
from distill.objectives import AttentionOutputs as AttentionOutputs
from distill.objectives import Consistency as Consistency
from distill.objectives import Depth as Depth
from distill.objectives import Features as Features
from distill.objectives import Intrinsics as Intrinsics
from distill.objectives import LocalAttention as LocalAttention
from distill.objectives import Objective as Objective
from distill.objectives import Observation as Observation
from distill.objectives import Pose as Pose
from distill.objectives import Rays as Rays
from distill.objectives import Supervised as Supervised
from distill.pairs import Pair as Pair
from distill.pairs import pair_sites as pair_sites
from distill.presets import PRESETS as PRESETS
from distill.presets import train_only as train_only
from distill.progress import TerminalProgress as TerminalProgress
from distill.recompute import recomputed_activations as recomputed_activations
from distill.reporter import Quiet as Quiet
from distill.reporter import Reporter as Reporter
from distill.reporter import Start as Start
from distill.reporter import StepRecord as StepRecord
from distill.reporter import Together as Together
from distill.result import Result as Result
from distill.sharding import Sharding as Sharding
from distill.targets import TargetCache as TargetCache
from distill.tensorboard import TensorBoard as TensorBoard
from distill.weights_and_biases import WandB as WandB

__version__ = version("distill")
