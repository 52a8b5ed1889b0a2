"""Evaluation of depth, poses and point clouds that can be trusted."""

from importlib.metadata import version

from . import align as align
from . import conventions as conventions
from . import data as data
from . import depth as depth
from . import dtu as dtu
from . import efficiency as efficiency
from . import points as points
from . import pose as pose
from . import report as report
from .report import Report as Report

__version__ = version("recon-eval")
