"""Metrics exactly as others publish them, under their names, so that their tables can be compared.

Nothing here is recommended. Where a definition has a flaw its docstring says which, and what the
rest of this package measures instead.
"""

from . import lite3r as lite3r
from .named import NamedResult as NamedResult
from .pose_tables import PoseConvention as PoseConvention
from .pose_tables import evaluate_pose as evaluate_pose
