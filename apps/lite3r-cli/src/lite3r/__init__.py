"""Make feed-forward 3-D reconstruction cheap to run, and show every number."""

from importlib.metadata import version

__version__ = version("lite3r-cli")
