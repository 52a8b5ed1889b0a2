"""Partial attention distillation that scales and never loses work."""

from importlib.metadata import version

from distill.attention_distillation import AttentionDistillation as AttentionDistillation
from distill.batches import Batches as Batches
from distill.batches import Cycled as Cycled
from distill.batches import Shuffled as Shuffled
from distill.batches import Streamed as Streamed
from distill.batches import Views as Views
from distill.config import DistillConfig as DistillConfig
from distill.evaluate import sharded_mean as sharded_mean
from distill.fit import Fit as Fit
from distill.fit import FitResult as FitResult
from distill.fit import fit_projections as fit_projections
from distill.loop import distill as distill
from distill.mixture import mixture as mixture
from distill.objectives.camera_tokens import CameraTokens as CameraTokens
from distill.objectives.cameras import Intrinsics as Intrinsics
from distill.objectives.cameras import Pose as Pose
from distill.objectives.consistency import Consistency as Consistency
from distill.objectives.features import AttentionOutputs as AttentionOutputs
from distill.objectives.features import Features as Features
from distill.objectives.local_attention import LocalAttention as LocalAttention
from distill.objectives.objective import Objective as Objective
from distill.objectives.pixels import Depth as Depth
from distill.objectives.pixels import Rays as Rays
from distill.objectives.supervised import Supervised as Supervised
from distill.observe.observation import Observation as Observation
from distill.observe.reading import Reading as Reading
from distill.observe.target_cache import TargetCache as TargetCache
from distill.processes.accelerated import sharding_of as sharding_of
from distill.processes.launch import join_processes as join_processes
from distill.processes.launch import use_own_gpu as use_own_gpu
from distill.processes.queue import Note as Note
from distill.processes.queue import Outcome as Outcome
from distill.processes.queue import Queue as Queue
from distill.processes.queue import work_off as work_off
from distill.processes.sharding import Sharding as Sharding
from distill.record.pairs import Pair as Pair
from distill.record.pairs import pair_sites as pair_sites
from distill.reporters.reporter import Quiet as Quiet
from distill.reporters.reporter import Reporter as Reporter
from distill.reporters.reporter import Start as Start
from distill.reporters.reporter import StepRecord as StepRecord
from distill.reporters.reporter import Together as Together
from distill.reporters.tensorboard import TensorBoard as TensorBoard
from distill.reporters.weights_and_biases import WandB as WandB
from distill.result import Result as Result
from distill.resume.adapter import load_adapter as load_adapter
from distill.resume.adapter import save_adapter as save_adapter
from distill.resume.archive import has_run as has_run
from distill.resume.journal import read_journal as read_journal
from distill.resume.weights import load_weights as load_weights
from distill.step.guard import Diverged as Diverged
from distill.step.guard import GuardConfig as GuardConfig
from distill.step.master import MasterOptimizer as MasterOptimizer
from distill.step.recompute import recomputed_activations as recomputed_activations
from distill.trainable.freeze import TrainableReport as TrainableReport
from distill.trainable.freeze import freeze_except as freeze_except
from distill.trainable.freeze import trainable_report as trainable_report
from distill.trainable.lora import add_lora as add_lora
from distill.trainable.lora import merge_lora as merge_lora
from distill.trainable.presets import PRESETS as PRESETS
from distill.trainable.presets import train_only as train_only

__version__ = version("distill")
