"""Camera poses against ground truth: pairwise and free of gauge, or along a trajectory."""

from .auc import auc_exact as auc_exact
from .auc import auc_histogram as auc_histogram
from .evaluation import PoseResult as PoseResult
from .evaluation import evaluate as evaluate
from .pairs import PairErrors as PairErrors
from .pairs import pair_errors as pair_errors
from .trajectory import TrajectoryResult as TrajectoryResult
from .trajectory import evaluate_trajectory as evaluate_trajectory
