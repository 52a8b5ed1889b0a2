"""Feed-forward 3-D reconstruction transformers: exact, light, open to surgery."""

from importlib.metadata import version

__version__ = version("recon-backbones")
