"""Evaluation of depth, poses and point clouds that can be trusted."""

from importlib.metadata import version

__version__ = version("recon-eval")
