"""What the student is asked to match; objectives add up, and each is logged."""

from distill.objectives.base import Objective as Objective
from distill.objectives.base import Observation as Observation
from distill.objectives.base import read_field as read_field
from distill.objectives.cameras import Intrinsics as Intrinsics
from distill.objectives.cameras import Pose as Pose
from distill.objectives.consistency import Consistency as Consistency
from distill.objectives.local import LocalAttention as LocalAttention
from distill.objectives.modules import AttentionOutputs as AttentionOutputs
from distill.objectives.modules import Features as Features
from distill.objectives.outputs import Depth as Depth
from distill.objectives.outputs import Rays as Rays
from distill.objectives.supervised import Supervised as Supervised
