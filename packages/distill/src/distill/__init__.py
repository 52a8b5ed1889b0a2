"""Partial attention distillation that scales and never loses work."""

from importlib.metadata import version

__version__ = version("distill")
