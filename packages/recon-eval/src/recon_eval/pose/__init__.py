"""Camera poses against ground truth: pairwise and free of gauge, or along a trajectory."""

from recon_eval.pose.auc import auc_exact as auc_exact
from recon_eval.pose.auc import auc_histogram as auc_histogram
from recon_eval.pose.evaluation import PoseResult as PoseResult
from recon_eval.pose.evaluation import evaluate as evaluate
from recon_eval.pose.pairs import PairErrors as PairErrors
from recon_eval.pose.pairs import pair_errors as pair_errors
from recon_eval.pose.trajectory import TrajectoryResult as TrajectoryResult
from recon_eval.pose.trajectory import evaluate_trajectory as evaluate_trajectory
