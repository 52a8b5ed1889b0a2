"""Metrics exactly as others publish them, under their names, so that their tables can be compared.

Nothing here is recommended. Where a definition has a flaw its docstring says which, and what the
rest of this package measures instead.
"""

from recon_eval.conventions import lite3r as lite3r
from recon_eval.conventions.named import NamedResult as NamedResult
from recon_eval.conventions.pose_tables import PoseConvention as PoseConvention
from recon_eval.conventions.pose_tables import evaluate_pose as evaluate_pose
