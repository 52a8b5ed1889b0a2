"""What the student is asked to match; objectives add up, and each is logged."""

from distill.objectives.base import Objective as Objective
from distill.objectives.base import Observation as Observation
from distill.objectives.base import read_field as read_field
from distill.objectives.modules import AttentionOutputs as AttentionOutputs
from distill.objectives.modules import Features as Features
