"""FP8 quantisation-aware training that deploys what it trained."""

from importlib.metadata import version

__version__ = version("fp8-qat")
