"""Trainable block-sparse plus linear attention in Triton, with exact CPU backends."""

from importlib.metadata import version

__version__ = version("sla-kernels")
